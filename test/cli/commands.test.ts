/** The commands against a real admin server, run in this process; main.ts itself in a few child processes. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type AdminServer, startAdminServer } from '../../supervisor/api/adminServer.ts'
import type { PlannedChange, PlanRequest } from '../../shared/api.ts'
import { adminSocketPath } from '../../supervisor/effects/adminClient.ts'
import { noCulprits } from '../../supervisor/core/culpritRecord.ts'
import { nothingRemembered } from '../../supervisor/core/types.ts'
import { loadConfig } from '../../supervisor/effects/configFile.ts'
import { lockStateDir } from '../../supervisor/effects/lock.ts'
import { writeStateFile } from '../../supervisor/effects/stateFile.ts'
import { runProgram } from '../../supervisor/cli/program.ts'
import { FakeOperator, refusedConfig, serviceView, shardView, statusOf } from './fakeOperator.ts'
import { CapturedOutput, result, run } from './terminal.ts'

let stateDir: string
let runDir: string
let operator: FakeOperator
let server: AdminServer | undefined

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'cc-'))
  runDir = join(stateDir, '.supervisor', 'run')
  operator = new FakeOperator(
    statusOf([serviceView('blog'), serviceView('wiki', { phase: 'starting', ready: false, message: 'node is starting' })]),
  )
})

afterEach(async () => {
  await server?.close()
  server = undefined
  rmSync(stateDir, { recursive: true })
})

const start = async () => {
  server = await startAdminServer({ socketPath: adminSocketPath(runDir), operator })
}
const here = () => ['--state-dir', stateDir]

describe('without a supervisor', () => {
  it.each(['status', 'services', 'reload', 'stop'])(
    '%s exits with 3, and says where it looked and what to do',
    async (command) => {
      const { exitCode, stdout, stderr } = await result(command, ...here())
      expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: '' })
      expect(stderr).toContain(`no supervisor answers on ${join(runDir, 'supervisor.sock')}; start one with`)
    },
  )

  it('lists no names, quietly: for shell completion', async () => {
    expect(await result('services', '--names', ...here())).toEqual({ exitCode: 0, stdout: '', stderr: '' })
  })
})

describe('usage', () => {
  it.each([
    [[]],
    [['statu']],
    [['status', '--no-such-flag']],
    [['status', 'excess']],
    [['logs', '-n', 'many']],
    [['stop', '--timeout', '5']],
    [['completion', 'tcsh']],
    [['plan']],
  ])('%j is refused with 2', async (args) => {
    const { exitCode, stdout, stderr } = await result(...args)
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(stderr).not.toBe('')
  })

  it('says that a configuration is not there as validate does', async () => {
    for (const command of ['status', 'stop', 'services', 'reload']) {
      const { exitCode, stderr } = await result(command, '--config', join(stateDir, 'nope.yaml'))
      expect({ command, exitCode }).toEqual({ command, exitCode: 2 })
      expect(stderr).toContain('nope.yaml: error: no such file\n')
    }
  })

  it('shows the time that stop waits as it is written, and says what a bare number may mean', async () => {
    expect((await result('stop', '--help')).stdout).toContain('(default: 60s)')
    const { stderr } = await result('stop', '--timeout', '60000')
    expect(stderr).toContain('not a duration: write 60s if these are milliseconds, or 60000s')
  })

  describe('of an error in the program itself', () => {
    class Broken extends CapturedOutput {
      override write(): boolean {
        throw new TypeError('stream.flush is not a function', { cause: new Error('a cause', { cause: 'and no error' }) })
      }
    }
    const failing = async (...args: string[]) => {
      const stderr = new CapturedOutput()
      const exitCode = await runProgram([...args], { stdout: new Broken(), stderr })
      return { exitCode, stderr: stderr.text }
    }

    it('says that it is one, and how to learn more', async () => {
      expect(await failing('completion', 'bash')).toEqual({
        exitCode: 1,
        stderr:
          'tsnsrv-sup: stream.flush is not a function\nThis is a bug in tsnsrv-sup. Please report it, with what --debug adds.\n',
      })
    })

    it('shows the stack of it and of its cause with --debug, before the command or behind it', async () => {
      for (const args of [
        ['--debug', 'completion', 'bash'],
        ['completion', 'bash', '--debug'],
      ]) {
        const { exitCode, stderr } = await failing(...args)
        expect(exitCode).toBe(1)
        expect(stderr).toMatch(
          /^tsnsrv-sup: stream\.flush is not a function\nTypeError: stream\.flush.*\n +at .*commands\.test\.ts/,
        )
        expect(stderr).toMatch(/^Error: a cause\n +at /m)
        expect(stderr).not.toContain('Please report')
      }
    })

    it('takes bad input for none', async () => {
      const { stderr } = await result('status', '--config', join(stateDir, 'nope.yaml'))
      expect(stderr).not.toContain('bug')
    })
  })

  it('groups the commands in its help, every one under a heading', async () => {
    const { exitCode, stdout } = await result('--help')
    expect(exitCode).toBe(0)
    const headings = stdout.match(/^[A-Z][^\n]*:$/gm)
    expect(headings).toEqual([
      'Options:',
      'Run:',
      'Inspect:',
      'Make and check a configuration:',
      'Move services between shards:',
      'Repair and upgrade:',
      'Monitor:',
      'Other:',
      'Examples:',
    ])
    expect(stdout).toMatch(/^Run:\n {2}start /m)
    expect(stdout).toMatch(/^Other:\n {2}completion [^\n]*\n {2}help /m)
    expect((await result('help', 'status')).stdout).toContain('Usage: tsnsrv-sup status')
  })

  it.each(['start', 'plan', 'validate'])(
    "shows %s's own options first, then the settings with their defaults",
    async (command) => {
      const { stdout } = await result(command, '--help')
      expect(stdout.indexOf('--config')).toBeLessThan(stdout.indexOf('Settings, over those of the file'))
      expect(stdout.indexOf('Settings, over')).toBeLessThan(stdout.indexOf('--shard-size'))
      expect(stdout).toMatch(/--shard-size <count> +Most services in one worker process\. \(default: 20\)/)
      expect(stdout).toMatch(/--hot-percent[^]*?\(default: 80\)/)
    },
  )

  it('suggests the command that was meant', async () => {
    expect((await result('statu')).stderr).toContain('Did you mean status?')
  })

  it.each([
    'start',
    'stop',
    'reload',
    'status',
    'describe',
    'doctor',
    'healthcheck',
    'alerts',
    'export',
    'dashboard',
    'services',
    'logs',
    'plan',
    'validate',
    'init',
    'schema',
    'completion',
    'version',
  ])('%s has help with examples', async (command) => {
    const { exitCode, stdout } = await result(command, '--help')
    expect(exitCode).toBe(0)
    expect(stdout).toContain(`Usage: tsnsrv-sup ${command}`)
    expect(stdout).toContain('$ tsnsrv-sup')
  })
})

describe('version', () => {
  it('tells what the worker misses in its version of tailscale', async () => {
    const worker = join(stateDir, 'worker')
    const facts = { version: '1.2.3', go: 'go1.26', tailscale: 'v1.102.5', missing: ['disco key (x.y): moves take seconds'] }
    writeFileSync(worker, `#!/bin/sh\necho '${JSON.stringify(facts)}'\n`, { mode: 0o700 })
    const { stdout } = await result('version', '--worker-binary', worker)
    expect(stdout).toContain('tsnsrv-worker 1.2.3 (tailscale v1.102.5, go1.26)')
    expect(stdout).toContain('\n  changed inside tailscale: disco key (x.y): moves take seconds\n')
  })
})

describe('status', () => {
  beforeEach(start)

  it('shows a table, plain where there is no terminal', async () => {
    operator.current = { ...operator.current, startedAt: Date.now() - 3_725_000 }
    const { exitCode, stdout } = await result('status', ...here())
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(/^tsnsrv-sup 0\.1\.0 {2}running {2}pid 2147483000 {2}up 1h 2m {2}1 of 2 services ready\n/)
    expect(stdout).toMatch(/^1 +4001 +ready +1\/1 +1\.3% +104 MB +0 /m)
    expect(stdout).toMatch(/^wiki +1 +starting +100\.64\.0\.7 +12 +0 +node is starting$/m)
    expect(stdout).not.toContain('\u001b')
  })

  it('finds the socket by --run-dir, by $TSNSRV_SUP_RUN_DIR and by a configuration, even a broken one', async () => {
    expect((await result('status', '--run-dir', runDir)).exitCode).toBe(0)
    vi.stubEnv('TSNSRV_SUP_RUN_DIR', runDir)
    expect((await result('status')).exitCode).toBe(0)
    vi.unstubAllEnvs()
    const config = join(stateDir, 'services.yaml')
    writeFileSync(config, `supervisor:\n  stateDir: ${stateDir}\nservices:\n  - nam: broken\n`)
    expect((await result('status', '--config', config)).exitCode).toBe(0)
  })

  it('prints JSON', async () => {
    expect(JSON.parse((await result('status', '--json', ...here())).stdout)).toEqual(operator.current)
  })

  it('watches: the table, then a line for each change, and 3 when the supervisor ends', async () => {
    const { stdout, stderr, exitCode } = run('status', '--watch', ...here())
    await stdout.until(/wiki/)
    operator.become(
      statusOf([serviceView('blog'), serviceView('wiki')], { shards: [shardView(1, { workerPid: null, workerPhase: null })] }),
    )
    await stdout.until(/Z wiki: ready\n/)
    expect(stdout.text).toMatch(/Z shard 1: no worker\n/)
    expect(stdout.text).not.toMatch(/Z blog/)
    await server?.close()
    expect(await exitCode).toBe(3)
    expect(stderr.text).toContain('no supervisor answers')
  })

  it('watches in JSON, one status a line', async () => {
    const { stdout, exitCode } = run('status', '--watch', '--json', ...here())
    await stdout.until(/\n/)
    operator.become(statusOf([]))
    await stdout.until(/\n.*\n/)
    await server?.close()
    await exitCode
    expect(
      stdout.text
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { services: [] }).services.length),
    ).toEqual([2, 0])
  })
})

describe('services', () => {
  beforeEach(start)

  it('lists names and upstreams', async () => {
    expect((await result('services', ...here())).stdout).toMatch(
      /^blog +ready +http:\/\/blog\.example\.ts\.net\/ +http:\/\/127\.0\.0\.1:8080\/blog$/m,
    )
    expect((await result('services', '--names', ...here())).stdout).toBe('blog\nwiki\n')
    const rows = JSON.parse((await result('services', '--json', ...here())).stdout) as unknown[]
    expect(rows).toEqual(expect.arrayContaining([expect.objectContaining({ name: 'wiki', ready: false, shard: 1 })]))
  })
})

describe('orders', () => {
  beforeEach(start)

  /** A decision of the operator that moves blog from shard 1 to 2, and what becomes of it. */
  function decideToMove({ arrives }: { arrives: boolean }): void {
    const move = { name: 'blog', from: 1, to: 2 }
    operator.onOrder = () => {
      const travelling = { ...move, phase: 'moving' as const, why: 'x', since: 0, problem: '' }
      operator.become({ ...operator.current, moves: [travelling] })
      setImmediate(() => {
        const services = [serviceView('blog', arrives ? { shard: 2 } : {}), serviceView('wiki')]
        const problems = arrives ? [] : ['blog did not come up in shard 2: no luck']
        const record = { verdict: 'manual' as const, reason: '', moves: [move], expected: [], problems }
        const decisions = [{ ...record, at: 0, carriedOutAt: null, measured: null, measuredAt: null }]
        operator.become({ ...operator.current, services, moves: [], rebalancing: { ...operator.current.rebalancing, decisions } })
      })
      return Promise.resolve({ verdict: 'manual', reason: 'moved by the operator', moves: [move], expected: [] })
    }
  }

  it('move tells what moves, and when it is there', async () => {
    decideToMove({ arrives: true })
    const { exitCode, stdout } = await result('move', 'blog', '--to', '2', ...here())
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'Moving blog from shard 1 to 2.\nblog is in shard 2.\n' })
    expect(operator.orders).toEqual(['move blog 2'])
  })

  it('move that fails says why, in JSON as well, and exits with 1', async () => {
    decideToMove({ arrives: false })
    const failed = await result('move', 'blog', '--to', '2', ...here())
    expect(failed).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('blog did not move. blog did not come up in shard 2: no luck') as string,
    })
    decideToMove({ arrives: false })
    const json = await result('move', 'blog', '--to', '2', '--json', ...here())
    expect(json.exitCode).toBe(1)
    expect(JSON.parse(json.stdout)).toMatchObject({
      verdict: 'manual',
      moves: [{ name: 'blog', from: 1, to: 2 }],
      failed: [{ name: 'blog', problem: 'blog did not come up in shard 2: no luck' }],
    })
  })

  it.each([['move', 'blog', '--to', 'new'], ['rebalance'], ['drain', '1']])(
    '%s --no-wait --json returns with the decision',
    async (...args) => {
      const { exitCode, stdout } = await result(...args, '--no-wait', '--json', ...here())
      expect(exitCode).toBe(0)
      expect(JSON.parse(stdout)).toEqual({ verdict: 'manual', reason: 'asked for', moves: [], expected: [] })
    },
  )

  it('drain says when the worker has ended', async () => {
    operator.current = { ...operator.current, shards: [shardView(1), shardView(2)] }
    decideToMove({ arrives: true })
    const draining = result('drain', '1', ...here())
    await vi.waitFor(() => expect(operator.current.services[0]?.shard).toBe(2))
    operator.become({ ...operator.current, shards: [shardView(2)] })
    expect((await draining).stdout).toBe(
      'Moving blog from shard 1 to 2.\nblog is in shard 2.\nShard 1 is empty, and its worker has ended.\n',
    )
  })

  it('upgrade-workers tells whose turn it is', async () => {
    const turn = (current: number, waiting: number[]) => {
      const upgrade = { current, waiting, halted: '' }
      operator.become({ ...operator.current, rebalancing: { ...operator.current.rebalancing, upgrade } })
    }
    operator.onOrder = () => {
      turn(1, [2])
      return Promise.resolve({ shards: [1, 2] })
    }
    const upgrading = run('upgrade-workers', ...here())
    await upgrading.stdout.until(/Shard 1: its services move to a fresh worker \(1 of 2\)\./)
    turn(2, [])
    await upgrading.stdout.until(/Shard 2: its services move to a fresh worker \(2 of 2\)\./)
    operator.become({ ...operator.current, rebalancing: { ...operator.current.rebalancing, upgrade: null } })
    expect(await upgrading.exitCode).toBe(0)
    expect(upgrading.stdout.text).toMatch(/^2 workers to replace\.\n(Shard .*\n)+All are replaced\.\n$/)
  })

  it('scale says what follows, and why nothing does', async () => {
    const reason = 'not before 08:18: 3 moves in 10 min are the budget'
    operator.onOrder = () => Promise.resolve({ verdict: 'none', reason, moves: [], expected: [] })
    expect((await result('scale', '--shards', '5', ...here())).stdout).toBe(
      `Scaling to 5 shards. Nothing moves now: ${reason}.\n`,
    )
    operator.onOrder = () =>
      Promise.resolve({ verdict: 'scale', reason: 'x', moves: [{ name: 'blog', from: 1, to: 2 }], expected: [] })
    expect((await result('scale', '--shards', 'auto', ...here())).stdout).toBe(
      'The load decides how many shards there are. blog will move first; watch "tsnsrv-sup status".\n',
    )
    expect(operator.orders).toEqual(['scale 5', 'scale auto'])
  })
})

describe('reload', () => {
  beforeEach(start)

  it('says what came of it', async () => {
    operator.onReload = () =>
      Promise.resolve({
        configGeneration: 2,
        added: ['a', 'b'],
        removed: [],
        changed: ['c'],
        moved: [],
        unchanged: 1,
        notes: ['gcPercent: later'],
      })
    const { exitCode, stdout } = await result('reload', ...here())
    expect(exitCode).toBe(0)
    expect(stdout).toBe(
      'Configuration taken (generation 2); 1 service untouched.\n  added: a, b\n  changed: c\n  note: gcPercent: later\n',
    )
  })

  it('exits with 2 for a configuration that is refused, with 1 for a fault', async () => {
    operator.onReload = () => Promise.reject(refusedConfig())
    const refused = await result('reload', ...here())
    expect(refused.exitCode).toBe(2)
    expect(refused.stderr).toContain('services.yaml:3:5')
    operator.onReload = () => Promise.reject(new Error('disk full'))
    expect(await result('reload', ...here())).toEqual({ exitCode: 1, stdout: '', stderr: 'tsnsrv-sup: disk full\n' })
  })
})

describe('stop', () => {
  beforeEach(start)

  it('returns when the supervisor has ended', async () => {
    const process = spawn('sleep', ['60'])
    const exited = new Promise((resolve) => process.once('exit', resolve))
    operator.current = { ...operator.current, pid: process.pid! }
    operator.onStop = () => {
      void server?.close().then(() => process.kill())
    }
    const { exitCode, stdout } = await result('stop', ...here())
    expect(exitCode).toBe(0)
    expect(stdout).toBe(`Stopped the supervisor (pid ${process.pid}), 1 worker and 2 services.\n`)
    await exited
  })

  it('leaves the workers when told to', async () => {
    const orders: unknown[] = []
    operator.onStop = (order) => {
      orders.push(order)
      void server?.close()
    }
    expect((await result('stop', '--leave-workers', ...here())).stdout).toContain('1 worker with 2 services keep serving')
    expect(orders).toEqual([{ leaveWorkers: true }])
  })

  it('exits with 1 when the supervisor has not ended in time', async () => {
    operator.current = { ...operator.current, pid: process.pid }
    const { exitCode, stderr } = await result('stop', '--timeout', '50ms', ...here())
    expect(exitCode).toBe(1)
    expect(stderr).toContain('has not ended within 0.05 s')
  })
})

describe('stop --workers', () => {
  const orphan = { workerId: 'shard-1-abc', pid: 258, services: ['blog'], directory: '', isCertain: true }

  it('has the supervisor end the workers that it does not follow, and tells of each', async () => {
    await start()
    expect(await result('stop', '--workers', ...here())).toEqual({
      exitCode: 0,
      stdout: 'No worker runs without a supervisor.\n',
      stderr: '',
    })
    operator.ended = [
      { ...orphan, problem: '' },
      { ...orphan, workerId: 'shard-2-def', pid: 259, services: [], problem: 'it was told to end and has not' },
    ]
    expect(await result('stop', '--workers', ...here())).toEqual({
      exitCode: 1,
      stdout: 'Ended worker shard-1-abc (pid 258) with blog.\n',
      stderr: 'tsnsrv-sup: worker shard-2-def (pid 259) still runs: it was told to end and has not\n',
    })
  })

  it('ends nobody where a supervisor has the state directory and does not answer', async () => {
    mkdirSync(runDir, { recursive: true })
    const lock = await lockStateDir(stateDir, () => Promise.resolve(null))
    const { exitCode, stderr } = await result('stop', '--workers', ...here())
    expect(exitCode).toBe(1)
    expect(stderr).toContain(`a supervisor runs on ${stateDir}, and does not answer in ${runDir}`)
    await lock.release()
  })

  it('has nothing to end where nothing ever was', async () => {
    expect((await result('stop', '--workers', ...here())).exitCode).toBe(0)
    expect((await result('stop', '--workers', '--leave-workers', ...here())).exitCode).toBe(2)
  })
})

describe('plan', () => {
  const config = () => join(stateDir, 'services.yaml')
  const write = (names: string[], extra = '') =>
    writeFileSync(
      config(),
      `services:\n${names.map((name) => `  - { name: ${name}, upstream: "http://127.0.0.1:80/${name}", plaintext: true${extra} }\n`).join('')}`,
    )
  const plan = (...args: string[]) => result('plan', '--config', config(), ...here(), ...args)

  it('shows the shards of a first start and touches nothing', async () => {
    write(['a', 'b', 'c'])
    const before = readdirSync(stateDir)
    const { exitCode, stdout } = await plan('--shard-size', '2')
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(/^Shard 1: 2 of at most 2 services, weight 2\n {2}\+ {2}a {2}http/)
    expect(stdout).toContain('3 to add, 0 to change, 0 to move, 0 to remove, 0 to leave alone.')
    expect(readdirSync(stateDir)).toEqual(before)
  })

  it('compares with the state file when no supervisor runs', async () => {
    write(['a', 'b', 'new'])
    mkdirSync(join(stateDir, '.supervisor'))
    const placement = new Map(Object.entries({ a: 1, b: 2, gone: 2 }))
    await writeStateFile(stateDir, { ...nothingRemembered, placement })
    const { stdout } = await plan()
    expect(stdout).toMatch(/Shard 2: 1 of at most 20 services, weight 1\n {2}= b\n {2}- {2}gone {2}stops\n/)
    expect(stdout).toContain('compared with the placement that the last one wrote')
    const json = JSON.parse((await plan('--json')).stdout) as { comparedWith: string; services: unknown[] }
    expect(json).toMatchObject({ comparedWith: 'stateFile', shardSize: 20 })
    expect(json.services).toContainEqual(expect.objectContaining({ name: 'gone', shard: 2, change: { type: 'removed' } }))
  })

  it('shows what the last supervisor has quarantined as kept off, and as released when it has changed', async () => {
    write(['a', 'b', 'c'])
    const { config: known } = await loadConfig(config(), { flags: { stateDir } })
    const hashes = new Map(known.services.map(({ name, spec }) => [name, spec.specHash]))
    const quarantine = new Map(
      [
        ['b', hashes.get('b') ?? ''],
        ['c', 'of another text'],
      ].map(([name = '', specHash = '']) => [name, { since: 1, reason: 'its worker ended 2 times', specHash }]),
    )
    mkdirSync(join(stateDir, '.supervisor'))
    const placement = new Map(Object.entries({ a: 1 }))
    await writeStateFile(stateDir, { ...nothingRemembered, placement, culprits: { ...noCulprits, quarantine } })
    const { stdout } = await plan()
    expect(stdout).toContain('  +  c  leaves quarantine, as it has changed\n')
    expect(stdout).toContain('  !  b  stays in quarantine: its worker ended 2 times.')
    expect(stdout).toContain('0 to add, 1 to release, 0 to change, 0 to move, 0 to remove, 1 kept off, 1 to leave alone.')
  })

  it('has the running supervisor read the text, with the flags of the command line and without those that find it', async () => {
    write(['a'])
    const asked: PlanRequest[] = []
    operator.onPlan = (request) => {
      asked.push(request)
      const change: PlannedChange = { type: 'changed', disturbs: 'proxy', fields: ['upstream'] }
      const row = { name: 'a', shard: 1, weight: 1, group: '', upstream: 'http://a', change }
      return Promise.resolve({ comparedWith: 'supervisor', shardSize: 2, services: [row], notes: ['gcPercent: later'] })
    }
    await start()
    const { stdout } = await plan('--shard-size', '2')
    expect(asked).toEqual([{ file: config(), text: readFileSync(config(), 'utf8'), flags: { shardSize: '2' } }])
    expect(stdout).toContain(' ~  a  in place, no connection is touched: upstream\n')
    expect(stdout).toContain('note: gcPercent: later\nCompared with what runs, and read as the running supervisor would')
    expect(JSON.parse((await plan('--json')).stdout)).toMatchObject({ comparedWith: 'supervisor', services: [{ name: 'a' }] })
    operator.onPlan = () => Promise.reject(refusedConfig())
    expect(await plan()).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('services.yaml:3:5') as string })
  })

  it('exits with 2 for a configuration that is refused', async () => {
    writeFileSync(config(), 'services:\n  - nam: a\n')
    const { exitCode, stdout, stderr } = await plan()
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' })
    expect(stderr).toContain(`${config()}:2:`)
  })

  it('exits with 1, and says why, when the state file is damaged', async () => {
    write(['a'])
    mkdirSync(join(stateDir, '.supervisor'))
    writeFileSync(join(stateDir, '.supervisor', 'state.json'), '{')
    expect(await plan()).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('is damaged') as string })
  })
})

describe('completion', () => {
  const hasBash = spawnSync('bash', ['-c', 'true']).status === 0

  it.each(['bash', 'zsh', 'fish'])('prints a script for %s that knows every command', async (shell) => {
    const { exitCode, stdout } = await result('completion', shell)
    expect(exitCode).toBe(0)
    for (const word of ['start', 'status', 'watch', 'leave-workers', 'services --names']) expect(stdout).toContain(word)
  })

  /** What bash would offer for the last of the words. */
  async function offered(...words: string[]): Promise<string[]> {
    const { stdout: script } = await result('completion', 'bash')
    const fake = `tsnsrv-sup() { printf '%s\\n' blog wiki; }\ncompopt() { :; }\n${script}`
    const ask = `COMP_WORDS=(tsnsrv-sup "$@"); COMP_CWORD=$#; _tsnsrv_sup; printf '%s\\n' "\${COMPREPLY[@]}"`
    const { stdout } = await promisify(execFile)('bash', ['-c', `${fake}\n${ask}`, 'bash', ...words], { cwd: stateDir })
    return stdout.split('\n').filter(Boolean)
  }

  it.skipIf(!hasBash)('completes commands, flags, services, shells, files and directories in bash', async () => {
    writeFileSync(join(stateDir, 'my services.yaml'), '')
    mkdirSync(join(stateDir, 'my dir'))
    expect(await offered('sta')).toEqual(['start', 'status'])
    expect(await offered('status', '--w')).toEqual(['--watch', '--wait'])
    expect(await offered('logs', 'b')).toEqual(['blog'])
    expect(await offered('completion', '')).toEqual(['bash', 'zsh', 'fish'])
    expect(await offered('start', '--config', 'my')).toEqual(expect.arrayContaining(['my services.yaml']))
    expect(await offered('status', '--run-dir', 'my')).toEqual(['my dir'])
    expect(await offered('start', '--shard-size', '')).toEqual([])
  })
})

describe('version', () => {
  const root = join(import.meta.dirname, '../..')

  it('names what a report needs: the worker, tailscale and Go too', async () => {
    const { exitCode, stdout } = await result('version', '--worker-binary', join(root, 'bin/tsnsrv-worker'))
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(
      /^tsnsrv-sup \d+\.\d+\.\d+ \(Node\.js v\d+.*\)\ntsnsrv-worker \d+\.\d+\.\d+ \(tailscale v1\.\d+\.\d+.*, go1\..*\): \/.*\n$/,
    )
    const facts: unknown = JSON.parse(
      (await result('version', '--json', '--worker-binary', join(root, 'bin/tsnsrv-worker'))).stdout,
    )
    expect(facts).toMatchObject({ worker: { go: expect.stringMatching(/^go1\./) as string } })
  })

  it('says what is wrong with a worker that cannot be asked', async () => {
    const { exitCode, stdout } = await result('version', '--worker-binary', '/nonexistent')
    expect(exitCode).toBe(0)
    expect(stdout).toContain('\ntsnsrv-worker: no worker binary at /nonexistent: ')
  })
})

describe('the program', () => {
  const main = (...args: string[]) =>
    spawn(process.execPath, ['--import', 'tsx', 'supervisor/cli/main.ts', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const exitOf = (child: ReturnType<typeof main>) =>
    new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)))

  it('gives the shell its exit code', async () => {
    const child = main('status', ...here())
    const [code, stderr] = await Promise.all([exitOf(child), text(child.stderr)])
    expect({ code, stderr }).toMatchObject({ code: 3, stderr: expect.stringContaining('no supervisor answers') as string })
  }, 20_000)

  it.each(['start', 'status'])(
    'ends quietly when nobody reads the help of %s',
    async (command) => {
      const child = main(command, '--help')
      const stderr = text(child.stderr)
      child.stdout.destroy()
      expect({ code: await exitOf(child), stderr: await stderr }).toEqual({ code: 0, stderr: '' })
    },
    20_000,
  )

  it('ends quietly when nobody reads its output', async () => {
    operator.current = statusOf(Array.from({ length: 2000 }, (_, i) => serviceView(`s${i}`)))
    await start()
    const child = main('status', '--watch', '--json', ...here())
    const stderr = text(child.stderr)
    const exit = exitOf(child)
    child.stdout.once('data', () => {
      child.stdout.destroy()
      operator.become({ ...operator.current, configGeneration: 2 })
    })
    expect({ code: await exit, stderr: await stderr }).toEqual({ code: 0, stderr: '' })
  }, 20_000)
})
