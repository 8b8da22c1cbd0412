/** How peers are started, with programs in their places that only tell what they were given. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { PEERS } from '../harness/subjects/all.ts'
import type { Running, Subject } from '../harness/subjects/subject.ts'

let directory: string
let running: Running | undefined

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tsnsrv-subjects-'))
})

afterEach(async () => {
  await running?.stop()
  running = undefined
  await rm(directory, { recursive: true })
})

/** Starts a subject of 57 services whose program says `line` once for each service of its configuration, and lives on. */
async function start(subject: Subject): Promise<readonly number[]> {
  running = await subject.start({
    directory,
    services: Array.from({ length: 57 }, (_, i) => `svc${i}`),
    controlURL: 'http://control.example',
    authKey: 'key-of-the-lab',
    certificate: { certificateFile: '/cert.pem', keyFile: '/key.pem' },
    upstream: 'http://127.0.0.1:8000',
    metricsPort: 9300,
    place: (file, args) => ({ file, args }),
  })
  return running.roots()
}

async function program(text: string): Promise<string> {
  const file = join(directory, 'peer')
  await writeFile(file, `#!/bin/sh\n${text}\nexec sleep 60\n`)
  await chmod(file, 0o755)
  return file
}

const READY = `grep -c 'stateDir:' "$2" | xargs seq | sed 's/.*/AuthLoop: state is Running; done/'`

describe('arsfeld/tsnsrv', () => {
  it.each([
    ['tsnsrv', 1],
    ['tsnsrv-shards', 3],
    ['tsnsrv-separate', 57],
  ])('runs as %s in %d processes that have all services between them', async (key, processes) => {
    const subject = PEERS.tsnsrv?.(await program(READY)).find(({ info }) => info.key === key)
    expect(await start(subject!)).toHaveLength(processes)
    const names: string[] = []
    for (let i = 0; i < processes; i++) {
      const config = parse(await readFile(join(directory, `tsnsrv-${i}.yaml`), 'utf8')) as { services: { name: string }[] }
      names.push(...config.services.map(({ name }) => name))
    }
    expect(names).toEqual(Array.from({ length: 57 }, (_, i) => `svc${i}`))
    expect(await running?.untilReady(AbortSignal.timeout(20_000))).toBeGreaterThan(0)
  })

  it.each([
    ['tsnsrv', { plaintext: true, listenAddr: ':80' }],
    ['tsnsrv-https', { certificateFile: '/cert.pem', keyFile: '/key.pem', listenAddr: ':443' }],
  ])('listens as %s with %j', async (key, keys) => {
    const subject = PEERS.tsnsrv?.(await program(READY)).find(({ info }) => info.key === key)
    await start(subject!)
    const { services } = parse(await readFile(join(directory, 'tsnsrv-0.yaml'), 'utf8')) as { services: object[] }
    const own = { name: 'svc0', upstream: 'http://127.0.0.1:8000', stateDir: join(directory, 'state', 'svc0') }
    expect(services[0]).toEqual({ ...own, ...keys })
  })

  it('tells when a process ends by itself, and how', async () => {
    const [subject] = PEERS.tsnsrv?.(await program('exit 3')) ?? []
    await start(subject!)
    expect(await running?.failed).toMatch(/^tsnsrv-0 ended by itself: .*exit code 3/)
  })
})

describe('tsbridge', () => {
  it('gets its key by the environment and is ready once it has said so of every service', async () => {
    const [subject] =
      PEERS.tsbridge?.(
        await program('[ -n "$TSBRIDGE_LAB_KEY" ] && for i in $(seq 57); do echo \'msg="started service"\'; done'),
      ) ?? []
    await start(subject!)
    expect(await running?.untilReady(AbortSignal.timeout(20_000))).toBeGreaterThan(0)
    expect(await readFile(join(directory, 'tsbridge.toml'), 'utf8')).not.toContain('key-of-the-lab')
  })
})
