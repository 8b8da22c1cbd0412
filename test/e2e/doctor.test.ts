/** doctor on a real system: each trouble is made for real, is found, and goes when it is mended. */
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterEach, beforeEach, expect, it, onTestFinished } from 'vitest'
import type { Finding } from '../../supervisor/operate/doctor.ts'
import { Stack, allReady, freePort } from './stack.ts'

let stack: Stack
beforeEach(async () => {
  stack = await Stack.create({ upstreams: 2 })
})
afterEach(() => stack.end())

async function findings(): Promise<Finding[]> {
  const { stdout, stderr } = await stack.cli('doctor', '--json', '--config', stack.configFile)
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout) as Finding[]
}
const found = async (check: string) => (await findings()).filter((finding) => finding.check === check)

/** The trouble is found with these words, and gone once it is mended. */
async function comesAndGoes(
  check: string,
  make: () => Promise<unknown>,
  expected: Partial<Finding>,
  says: RegExp,
  mend: () => Promise<unknown>,
) {
  expect({ check, before: await found(check) }).toEqual({ check, before: [] })
  await make()
  await expect.poll(() => found(check), { timeout: 20_000 }).toMatchObject([{ check, ...expected }])
  expect((await found(check))[0]?.message).toMatch(says)
  await mend()
  await expect.poll(() => found(check), { timeout: 20_000 }).toEqual([])
}

const admin = (...args: string[]) => stack.cli(...args, '--config', stack.configFile)

it('finds nothing where nothing is wrong', async () => {
  await stack.configure(stack.services(2))
  await stack.startReady()
  expect(await admin('doctor')).toEqual({ exitCode: 0, stdout: 'Nothing is wrong.', stderr: '' })
})

it('finds what is wrong with a running system, one by one', async () => {
  const port = await freePort()
  const services = [...stack.services(2), { name: 'late', upstream: `http://127.0.0.1:${String(port)}` }]
  const upstream = createServer((_, response) => response.end('here')).listen(port, '127.0.0.1')
  await once(upstream, 'listening')
  onTestFinished(() => void upstream.close())
  await stack.configure(services)
  await stack.startReady()
  const nodeDirectory = join(stack.stateDir, 'svc0')
  const reload = () => admin('reload')
  const good = await readFile(stack.configFile, 'utf8')

  const leave = async () => {
    upstream.close()
    upstream.closeAllConnections()
    await once(upstream, 'close')
  }
  const comeBack = async () => {
    upstream.listen(port, '127.0.0.1')
    await once(upstream, 'listening')
  }
  await comesAndGoes('upstream', leave, { severity: 'error', about: 'late' }, /refused|nobody/, comeBack)
  await comesAndGoes(
    'directory',
    () => chmod(nodeDirectory, 0o777),
    { severity: 'error', about: 'svc0', remedy: `chmod go-w ${nodeDirectory}` },
    /writable/,
    () => chmod(nodeDirectory, 0o700),
  )
  await comesAndGoes(
    'directory',
    () => chmod(nodeDirectory, 0o755),
    { severity: 'warning', about: 'svc0' },
    /read by other users/,
    () => chmod(nodeDirectory, 0o700),
  )
  await comesAndGoes(
    'leftover',
    async () => {
      await mkdir(join(stack.stateDir, 'gone'), { mode: 0o700 })
      await writeFile(join(stack.stateDir, 'gone', 'tailscaled.state'), '{}')
    },
    { severity: 'info' },
    /no service has any more/,
    () => rm(join(stack.stateDir, 'gone'), { recursive: true }),
  )
  await comesAndGoes(
    'paused',
    () => admin('pause'),
    { severity: 'info' },
    /hot/,
    () => admin('resume'),
  )
  await comesAndGoes(
    'cordoned',
    () => admin('cordon', '1'),
    { about: 'shard 1', remedy: 'tsnsrv-sup uncordon 1' },
    /nothing new/,
    () => admin('uncordon', '1'),
  )
  await comesAndGoes(
    'reload',
    async () => {
      await writeFile(stack.configFile, good.replace('upstream:', 'upstrem:'))
      await reload()
    },
    { severity: 'error' },
    /upstrem/,
    () => writeFile(stack.configFile, good),
  )
  await comesAndGoes(
    'config',
    () => writeFile(stack.configFile, 'services: 7\n'),
    { severity: 'error' },
    /cannot be used/,
    () => writeFile(stack.configFile, good),
  )

  const workerPid = (await stack.service('svc0')).workerPid!
  await comesAndGoes(
    'worker',
    async () => {
      process.kill(workerPid, 'SIGSTOP')
      await stack.until(({ shards }) => shards.some(({ problems }) => problems.length > 0), 'it is missed', 20_000)
    },
    { severity: 'warning', about: 'shard 1' },
    /has not answered/,
    async () => {
      process.kill(workerPid, 'SIGCONT')
      await stack.until(allReady, 'it answers again')
    },
  )
})

it('finds that a service waits for a login, and that a supervisor is away', async () => {
  await stack.configure(stack.services(2))
  expect(await found('supervisor')).toMatchObject([{ message: 'No supervisor runs.' }])
  const supervisor = await stack.startReady()
  expect(await found('supervisor')).toEqual([])
  supervisor.kill('SIGKILL')
  await supervisor.ended
  expect(await found('supervisor')).toMatchObject([{ message: expect.stringMatching(/1 workers serve without one/) as string }])
  await stack.startReady()
  expect(await found('supervisor')).toEqual([])
})

it('finds a control server that is away, and one whose clock is another', async () => {
  await stack.configure(stack.services(1))
  await stack.startReady()
  const good = await readFile(stack.configFile, 'utf8')
  const port = await freePort()
  const other = good.replace(stack.lab.controlURL, `http://127.0.0.1:${String(port)}`)
  await comesAndGoes(
    'control',
    () => writeFile(stack.configFile, other),
    { severity: 'error' },
    /does not answer/,
    () => writeFile(stack.configFile, good),
  )
  const server = createServer((_, response) =>
    response.setHeader('date', new Date(Date.now() - 600_000).toUTCString()).end(),
  ).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const late = good.replace(stack.lab.controlURL, `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`)
  await comesAndGoes(
    'clock',
    () => writeFile(stack.configFile, late),
    { severity: 'error' },
    /(599|600|601) s ahead/,
    () => writeFile(stack.configFile, good),
  )
  server.close()
})

it.runIf(process.geteuid?.() === 0)('finds a full disk', async () => {
  const disk = join(stack.directory, 'disk')
  await mkdir(disk)
  await execa('mount', ['-t', 'tmpfs', '-o', 'size=20m,mode=700', 'tmpfs', disk])
  try {
    stack.stateDir = join(disk, 'state')
    await stack.configure(stack.services(1))
    await mkdir(stack.stateDir, { mode: 0o700 })
    const filler = join(disk, 'filler')
    await comesAndGoes(
      'disk',
      () => writeFile(filler, Buffer.alloc(19.8 * 2 ** 20)),
      { severity: 'error' },
      /MB are free/,
      () => rm(filler),
    )
  } finally {
    await execa('umount', ['--lazy', disk])
  }
})
