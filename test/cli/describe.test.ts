/** describe, status --wait and healthcheck against a real admin server. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { EventView } from '../../shared/api.ts'
import { type AdminServer, startAdminServer } from '../../supervisor/api/adminServer.ts'
import { adminSocketPath } from '../../supervisor/effects/adminClient.ts'
import { FakeOperator, serviceView, shardView, statusOf } from './fakeOperator.ts'
import { result, run } from './terminal.ts'

let stateDir: string
let operator: FakeOperator
let server: AdminServer | undefined

const start = async () => {
  server = await startAdminServer({ socketPath: adminSocketPath(join(stateDir, '.supervisor', 'run')), operator })
}
const call = (...args: string[]) => result(...args, '--state-dir', stateDir)

const upstream = { part: 'upstream', message: '127.0.0.1:9 refuses connections' } as const
const failed: EventView = {
  at: Date.now() - 60_000,
  firstAt: Date.now() - 3_600_000,
  count: 4,
  severity: 'warning',
  service: 'blog',
  shard: 1,
  what: 'failed',
  reason: 'AuthKeyRefused',
  message: 'the key is not valid',
}

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'dt-'))
  operator = new FakeOperator(statusOf([serviceView('blog', { problems: [upstream] }), serviceView('wiki')]))
})

afterEach(async () => {
  await server?.close()
  server = undefined
  rmSync(stateDir, { recursive: true })
})

describe('describe', () => {
  beforeEach(start)

  it('shows a service with its problems and events', async () => {
    operator.happened = [failed]
    const { exitCode, stdout } = await call('describe', 'blog')
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(/^State: +ready for /m)
    expect(stdout).toMatch(/^URL: +http:\/\/blog\.example\.ts\.net\/$/m)
    expect(stdout).toContain('\nProblems:\n  upstream: 127.0.0.1:9 refuses connections\n')
    expect(stdout).toMatch(/^ {2}1m \(x4 over 1h\) +warning +failed +AuthKeyRefused +the key is not valid$/m)
    expect((await call('describe', 'wiki')).stdout).toContain('Events: none since the supervisor started.')
  })

  it('shows a shard by its number, unless a service has that name', async () => {
    operator.happened = [{ ...failed, service: null, what: 'gone' }]
    operator.current = { ...operator.current, shards: [shardView(1), shardView(2, { problems: ['It leaks.'] })] }
    expect((await call('describe', '1')).stdout).toMatch(/^Worker: +shard-1-abc123 \(pid 4001\)$[^]*gone/m)
    expect((await call('describe', 'shard/2')).stdout).toContain('Problems:\n  It leaks.\n')
    operator.current = statusOf([serviceView('2')], { shards: [shardView(2)] })
    expect((await call('describe', '2')).stdout).toMatch(/^Name: +2$/m)
  })

  it('prints JSON', async () => {
    operator.happened = [failed]
    expect(JSON.parse((await call('describe', 'blog', '--json')).stdout)).toEqual({
      service: operator.current.services[0],
      events: [failed],
    })
  })

  it('names what was probably meant', async () => {
    expect(await call('describe', 'blgo')).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('did you mean blog?') as string,
    })
    expect(await call('describe', '7')).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('there are 1') as string })
  })

  it('leaves out control characters of what comes from elsewhere', async () => {
    operator.current = statusOf([serviceView('blog', { message: '\u001b[2Jgone', ready: false })])
    operator.happened = [{ ...failed, message: 'a\u001b[31mb' }]
    expect((await call('describe', 'blog')).stdout).not.toContain('\u001b')
  })
})

describe('status --wait ready', () => {
  const waiting = () => statusOf([serviceView('blog'), serviceView('wiki', { phase: 'starting', ready: false, message: 'soon' })])

  it('waits for a supervisor and for its services, and then shows the status', async () => {
    operator.current = waiting()
    const { exitCode, stdout } = run('status', '--wait', 'ready', '--timeout', '20s', '--state-dir', stateDir)
    await start()
    await expect.poll(() => operator.listeners.size).toBe(1)
    expect(stdout.text).toBe('')
    operator.become(statusOf([serviceView('blog'), serviceView('wiki')]))
    expect(await exitCode).toBe(0)
    expect(stdout.text).toContain('2 of 2 services ready')
  })

  it('names what is not ready when the time is up', async () => {
    operator.current = waiting()
    await start()
    const { exitCode, stderr } = await call('status', '--wait', 'ready', '--timeout', '50ms')
    expect({ exitCode, stderr }).toEqual({
      exitCode: 1,
      stderr: 'tsnsrv-sup: 1 of 2 services not ready:\n  wiki: starting, soon\n',
    })
  })

  it('exits with 3 when there was no supervisor in all that time', async () => {
    expect((await call('status', '--wait', 'ready', '--timeout', '50ms')).exitCode).toBe(3)
  })
})

describe('healthcheck', () => {
  it('is content with a service in trouble, unless asked for more', async () => {
    operator.current = statusOf([serviceView('blog', { problems: [upstream] })])
    await start()
    expect(await call('healthcheck')).toEqual({ exitCode: 0, stdout: 'ok: 1 worker, 1 of 1 service ready\n', stderr: '' })
    expect((await call('healthcheck', '--ready')).exitCode).toBe(0)
    expect(await call('healthcheck', '--problems')).toMatchObject({
      exitCode: 1,
      stderr: 'tsnsrv-sup: blog: upstream: 127.0.0.1:9 refuses connections\n',
    })
    operator.current = statusOf([serviceView('blog', { ready: false, phase: 'needsLogin', loginURL: 'https://login.example/a' })])
    expect(await call('healthcheck', '--ready')).toMatchObject({
      exitCode: 1,
      stderr: 'tsnsrv-sup: blog: needsLogin, https://login.example/a\n',
    })
  })

  it.each([
    ['a worker that does not answer', { shards: [shardView(3, { silentSince: 1 })] }, 'The worker of shard 3 does not answer.'],
    ['a shard without a worker', { shards: [shardView(3, { workerPid: null })] }, 'Shard 3 has no worker.'],
    ['a state file that cannot be written', { journalError: 'disk full' }, 'The state file cannot be written: disk full.'],
    ['a stop', { phase: 'stopping' as const }, 'The supervisor is stopping.'],
  ])('says that %s is none', async (_what, fields, message) => {
    operator.current = statusOf([], fields)
    await start()
    expect(await call('healthcheck')).toEqual({ exitCode: 1, stdout: '', stderr: `tsnsrv-sup: ${message}\n` })
  })

  it('exits with 3 where no supervisor runs', async () => {
    expect((await call('healthcheck')).exitCode).toBe(3)
  })
})
