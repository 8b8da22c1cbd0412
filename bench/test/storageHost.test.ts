/** The real namespaces; needs root, and says so where it is not. */
import { mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { HOST_ADDRESS, type StorageHost, WORLD_ADDRESS, openStorageHost } from '../harness/host/storageHost.ts'
import { countGoroutines } from '../harness/measure/goroutines.ts'
import { sampleTree } from '../harness/measure/processTree.ts'
import { measureWindow } from '../harness/measure/window.ts'
import { identify } from '../../supervisor/effects/processIdentity.ts'
import { type Child, node, startChild } from './child.ts'

const isRoot = process.getuid?.() === 0
const root = join(import.meta.dirname, '../..')
const PROCESSES = 20

beforeEach((context) => {
  if (!isRoot) context.skip('needs root')
})

/** Names of network namespaces, and living processes below this one with their pids. */
async function whatThereIs(): Promise<{ namespaces: string[]; processes: string[] }> {
  const { stdout } = await execa('ip', ['netns', 'list'])
  const members = sampleTree([process.pid]).members.filter(({ pid, zombie }) => pid !== process.pid && !zombie)
  return {
    namespaces: stdout.split('\n').filter((name) => name.startsWith(`tsnsrv-bench.${process.pid}.`)),
    processes: members.map(({ command }) => command),
  }
}

const nothing = { namespaces: [], processes: [] }

describe('the host', () => {
  let host: StorageHost
  const children: Child[] = []
  beforeAll(async () => {
    if (isRoot) host = await openStorageHost({ processes: PROCESSES, churnMs: 200 })
  })
  afterEach(async () => {
    await Promise.all(children.splice(0).map((child) => child.end()))
  })
  afterAll(async () => {
    if (!isRoot) return
    await host.close()
    expect(await whatThereIs()).toEqual(nothing)
  })

  async function runInHost(file: string, ...args: string[]): Promise<string> {
    const [entered, all] = host.command('host', file, args)
    return (await execa(entered, all)).stdout
  }

  function startIn(place: 'host' | 'world', script: string): Child {
    const child = startChild('', host.command(place, ...node(script)))
    children.push(child)
    return child
  }

  it('has 40 container networks, an uplink and the way out', async () => {
    const links = JSON.parse(await runInHost('ip', '-json', 'address')) as {
      ifname: string
      operstate: string
      addr_info: { local: string }[]
    }[]
    const addressOf = new Map(links.map(({ ifname, addr_info }) => [ifname, addr_info[0]?.local]))
    const networks = links.filter(({ ifname }) => ifname.startsWith('br-'))
    expect(networks.map(({ addr_info }) => addr_info[0]!.local).sort()).toEqual(
      Array.from({ length: 40 }, (_, i) => `10.200.${i + 1}.1`).sort(),
    )
    expect(new Set(networks.map(({ operstate }) => operstate))).toEqual(new Set(['UP']))
    // One more pair while there is churn.
    expect([40, 41, 42]).toContain(links.filter(({ ifname }) => /^veth[0-9a-f]{7}$/.test(ifname)).length)
    expect(addressOf.get('eth0')).toBe(HOST_ADDRESS)
    expect(await runInHost('ip', 'route', 'show', 'default')).toContain(`via ${WORLD_ADDRESS} dev eth0`)
    expect(host.describe()).toMatch(/82 interfaces .* 20 processes with 2 .* every 0\.2 s .* 0\.05 s later/)
  })

  it('has processes that listen', async () => {
    const sockets = (await runInHost('cat', '/proc/net/tcp')).split('\n').map((line) => line.trim().split(/\s+/))
    const listening = sockets.filter(([, , , state]) => state === '0A').map(([, local]) => local)
    const expected = Array.from({ length: 2 * PROCESSES }, (_, i) => `0100007F:${(20_000 + i).toString(16).toUpperCase()}`)
    expect(listening.sort()).toEqual(expected.sort())
    const holders = sampleTree([process.pid]).members.filter(({ command }) => command === 'cat')
    expect(holders).toHaveLength(PROCESSES)
  })

  it('has interfaces that come, get an address and go', async () => {
    const monitor = execa(...host.command('host', 'ip', ['-oneline', 'monitor', 'link', 'address']), { reject: false })
    const seen: string[] = []
    for await (const line of monitor.iterable()) {
      seen.push(line)
      if (seen.filter((each) => /^Deleted .*veth[0-9a-f]{7}@/.test(each)).length >= 4) break
    }
    monitor.kill()
    await monitor
    const come = /(veth[0-9a-f]{7})\s+inet 10\.201\.1\.1\/24/
    const name = seen.map((line) => come.exec(line)?.[1]).find(Boolean)
    expect(name).toBeDefined()
    expect(seen.some((line) => line.includes(`${name}@`) && !line.startsWith('Deleted'))).toBe(true)
    expect(seen.some((line) => line.includes(`${name}@`) && line.startsWith('Deleted'))).toBe(true)
    host.check()
  })

  it('starts programs under the pid that is spawned', () => {
    const child = startIn('host', `return ''`)
    expect(sampleTree([child.pid]).members[0]).toMatchObject({ pid: child.pid, parentPid: process.pid })
  })

  it('is measured in a window: CPU, memory, threads, and bytes over the uplink', async () => {
    const sizeBytes = 5_000_000
    const world = startIn(
      'world',
      `const server = require('node:net').createServer((socket) => socket.resume().on('end', () => socket.end('thanks')))
      return new Promise((done) => server.listen(0, '0.0.0.0', () => done(server.address().port)))`,
    )
    const port = await world.ask('')
    const subject = startIn(
      'host',
      `if (line === '') return ''
      burn(Number(line))
      const socket = require('node:net').connect(${port}, '${WORLD_ADDRESS}')
      socket.end(Buffer.alloc(${sizeBytes}, 1))
      return new Promise((done) => socket.on('data', (text) => done(String(text))))`,
    )
    await subject.ask('')
    const requests = { total: 1, failed: 0, perSecond: 1, p50Ms: 1, p99Ms: 1, slowestMs: 1 }
    const window = await measureWindow(
      { roots: () => Promise.resolve([subject.pid]), goroutines: () => Promise.resolve(null) },
      () => host.uplinkBytes(),
      async () => {
        expect(await subject.ask('0.3')).toBe('thanks')
        return requests
      },
    )
    expect(window).toMatchObject({ processes: 1, goroutines: null, requests })
    expect(window.cpuSeconds).toBeGreaterThan(0.28)
    expect(window.cpuSeconds).toBeLessThan(window.seconds * 2)
    expect(window.threads).toBeGreaterThan(1)
    expect(window.voluntarySwitches).toBeGreaterThan(0)
    expect(window.pssBytes).toBeGreaterThan(10e6)
    expect(window.rssBytes).toBeGreaterThanOrEqual(window.pssBytes)
    // Headers and acknowledgements are less than a tenth of it.
    expect(window.sentBytes).toBeGreaterThan(sizeBytes)
    expect(window.sentBytes).toBeLessThan(1.1 * sizeBytes)
    expect(window.receivedBytes).toBeLessThan(0.1 * sizeBytes)
  })

  it('gives no window for a subject that ended in it', async () => {
    const subject = startIn('host', 'process.exit()')
    const window = measureWindow(
      { roots: () => Promise.resolve([subject.pid]), goroutines: () => Promise.resolve(null) },
      () => host.uplinkBytes(),
      async () => {
        await subject.end()
        return null
      },
    )
    await expect(window).rejects.toThrow(`the subject ended while it was measured: node (${subject.pid})`)
  })

  it('lets metrics be read that only the namespace can reach', async () => {
    const metrics = startIn(
      'host',
      `const server = require('node:http').createServer((request, reply) => reply.end('go_goroutines 7\\n'))
      return new Promise((done) => server.listen(0, '127.0.0.1', () => done(server.address().port)))`,
    )
    const url = `http://127.0.0.1:${await metrics.ask('')}/metrics`
    expect(await countGoroutines([{ url }])).toBeNull()
    expect(await countGoroutines([{ url }], (file, args) => host.command('host', file, args))).toBe(7)
  })
})

describe('closing', () => {
  it('ends what still runs in the host, and is done twice as well as once', async () => {
    const host = await openStorageHost({ processes: 1, churnMs: 0 })
    const left = startChild('', host.command('world', 'sleep', ['1000']))
    await vi.waitFor(() => {
      expect(sampleTree([left.pid]).members[0]?.command).toBe('sleep')
    })
    await Promise.all([host.close(), host.close()])
    await left.end()
    await host.close()
    expect(await whatThereIs()).toEqual(nothing)
  })

  it.each([
    ['ip', 'the interface churn (ip) ended'],
    ['perl', 'the listening processes (perl) ended'],
  ])('is possible, and needed, when %s has died', async (command, message) => {
    const host = await openStorageHost({ processes: 2, churnMs: 1000 })
    try {
      host.check()
      const victim = sampleTree([process.pid]).members.find((member) => member.command === command)
      process.kill(victim!.pid, 'SIGKILL')
      await vi.waitFor(() => {
        expect(() => host.check()).toThrow(message)
      })
    } finally {
      await host.close()
    }
    expect(await whatThereIs()).toEqual(nothing)
  })

  it('is done by the next one for a process that was killed', async () => {
    const script = `
      const { openStorageHost } = await import('./bench/harness/host/storageHost.ts')
      const host = await openStorageHost({ processes: 2, churnMs: 100 })
      const [file, args] = host.command('host', 'sleep', ['1000'])
      const { spawn } = await import('node:child_process')
      console.log(spawn(file, args, { stdio: 'ignore' }).pid)`
    const opener = execa(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], { cwd: root, reject: false })
    let orphan: number
    let started: number[]
    try {
      orphan = Number((await opener.iterable()[Symbol.asyncIterator]().next()).value)
      const members = sampleTree([opener.pid!]).members.filter(({ pid }) => pid !== orphan)
      started = members.filter(({ command }) => ['cat', 'ip', 'perl'].includes(command)).map(({ pid }) => pid)
      expect(started).toHaveLength(4)
    } finally {
      opener.kill('SIGKILL')
      await opener
    }
    const running = (pids: readonly number[]) => pids.filter((pid) => identify(pid) !== null)
    // What belongs to the host ends by itself; its namespaces, and what runs in them, stay for the next one.
    await vi.waitFor(() => {
      expect(running(started)).toEqual([])
    }, 5000)
    expect(running([orphan])).toEqual([orphan])
    const prefix = `tsnsrv-bench.${opener.pid}.`
    expect((await execa('ip', ['netns', 'list'])).stdout).toContain(prefix)
    const host = await openStorageHost({ processes: 0, churnMs: 0 })
    try {
      expect((await execa('ip', ['netns', 'list'])).stdout).not.toContain(prefix)
      expect(running([orphan])).toEqual([])
    } finally {
      await host.close()
    }
  })
})

describe('a host that cannot be made says why and leaves nothing', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'path-'))
  })
  afterEach(async () => {
    vi.unstubAllEnvs()
    await rm(directory, { recursive: true })
    if (isRoot) expect(await whatThereIs()).toEqual(nothing)
  })

  it('without ip', async () => {
    vi.stubEnv('PATH', directory)
    await expect(openStorageHost()).rejects.toThrow('there is no program "ip" in PATH: apt install iproute2')
  })

  it('without perl, when the namespaces are there already', async () => {
    for (const file of ['ip', 'nsenter']) {
      await symlink((await execa('sh', ['-c', `command -v ${file}`])).stdout, join(directory, file))
    }
    vi.stubEnv('PATH', directory)
    await expect(openStorageHost()).rejects.toThrow(/the listening processes \(perl\) ended: nsenter: .*perl/)
  })

  it('when it is not wanted any more', async () => {
    await expect(openStorageHost({ processes: 1, signal: AbortSignal.abort() })).rejects.toThrow('aborted')
  })

  const script = `
    const { openStorageHost } = await import('./bench/harness/host/storageHost.ts')
    await openStorageHost().catch((error) => console.log(error.message))`
  const open = ['--import', 'tsx', '--input-type=module', '-e', script]

  it('without root', async (context) => {
    const nobody = { cwd: root, uid: 65534, gid: 65534, env: { TMPDIR: '/nonexistent' } }
    const { failed } = await execa(process.execPath, ['--import', 'tsx', '-e', ''], { ...nobody, reject: false })
    if (failed) context.skip('another user cannot read this checkout')
    expect((await execa(process.execPath, open, nobody)).stdout).toMatch(/needs root: use sudo$/)
  })

  it('where namespaces are not permitted', async (context) => {
    const unprivileged = ['--user', '--map-root-user', '--']
    const { failed } = await execa('unshare', [...unprivileged, 'true'], { reject: false })
    if (failed) context.skip('user namespaces are not permitted')
    const { stdout } = await execa('unshare', [...unprivileged, process.execPath, ...open], { cwd: root })
    expect(stdout).toMatch(/^network namespaces are not permitted here/)
  })
})
