/** Workers without a supervisor, and workers that the host hides from the next one: no living worker counts as dead, none gets lost. */
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { Unsupervised } from '../../shared/api.ts'
import { hiddenFromOthers, hiddenWithLocks, whyNothingIsHidden } from './hidden.ts'
import { Stack, allReady, isRunning, serviceNames, workerPids } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

const nothingHidden = await whyNothingIsHidden()

/** Two shards with two services each (svc0 and svc2, svc1 and svc3), all ready, whose supervisor is then killed. Gives the pids of the workers. */
async function abandoned(launcher: readonly string[] = []): Promise<number[]> {
  stack = await Stack.create({ upstreams: 1, shardSize: 2, launcher })
  await stack.configure(stack.services(4))
  const supervisor = await stack.startReady()
  const pids = workerPids(await stack.status())
  supervisor.kill('SIGKILL')
  await supervisor.ended
  return pids
}

const stillRunning = (pids: readonly number[]) => Promise.all(pids.map(isRunning))
const cli = (...args: string[]) => stack.cli(...args, '--config', stack.configFile)

describe('workers that the host hides from the next supervisor', () => {
  it('are adopted, and it is told that they cannot be measured; a stop ends them', async (context) => {
    if (nothingHidden !== undefined) {
      stack = await Stack.create({ upstreams: 0 })
      context.skip(nothingHidden)
    }
    const before = await abandoned(hiddenFromOthers)
    const second = await stack.startReady('--sample-interval', '1s')
    const measured = await stack.until(({ shards }) => shards.every(({ problems }) => problems.length > 0), 'two samples')
    expect(workerPids(measured)).toEqual(before)
    expect(measured.shards.map(({ adopted, cpuPercent }) => ({ adopted, cpuPercent }))).toEqual(
      before.map(() => ({ adopted: true, cpuPercent: null })),
    )
    expect(measured.shards[0]?.problems[0]).toContain(`this host hides /proc/${String(before[0])} from the supervisor`)
    await Promise.all(serviceNames(4).map((name) => stack.whoAnswers(name)))
    second.kill('SIGTERM')
    expect((await second.ended).exitCode).toBe(0)
    expect(await stillRunning(before)).toEqual([false, false])
  })

  it('are ended when they hang, as the kernel names them as holders of their nodes', async (context) => {
    if (nothingHidden !== undefined) {
      stack = await Stack.create({ upstreams: 0 })
      context.skip(nothingHidden)
    }
    const [hung = 0, other = 0] = await abandoned(hiddenFromOthers)
    process.kill(hung, 'SIGSTOP')
    await stack.startReady()
    const after = workerPids(await stack.status())
    expect(after).toContain(other)
    expect(after).not.toContain(hung)
    expect(await isRunning(hung)).toBe(false)
  })
})

describe('a worker that hangs, and of which nothing shows which process it is', () => {
  it('is neither killed nor loses its directory, is named, and ends by the order when it goes on', async (context) => {
    if (nothingHidden !== undefined) {
      stack = await Stack.create({ upstreams: 0 })
      context.skip(nothingHidden)
    }
    const [hung = 0, other = 0] = await abandoned(hiddenWithLocks)
    process.kill(hung, 'SIGSTOP')
    const supervisor = stack.start()
    const found = await stack.until(({ orphans }) => orphans.length > 0, 'it is given up')
    expect(found.orphans).toMatchObject([
      { pid: hung, isCertain: false, message: expect.stringContaining(`ps -p ${String(hung)}`) as string },
    ])
    expect(await readdir(found.orphans[0]?.directory ?? '')).toEqual(['worker.json', 'worker.sock'])
    expect(workerPids(await stack.until(({ services }) => services.some(({ ready }) => ready), 'the others serve'))).toContain(
      other,
    )
    // It gets no signal, but hears of it once it goes on.
    const ended = await cli('stop', '--workers')
    expect(ended).toMatchObject({ exitCode: 1, stderr: expect.stringContaining(`(pid ${String(hung)}) still runs`) as string })
    expect(await isRunning(hung)).toBe(true)
    process.kill(hung, 'SIGCONT')
    await stack.until((status) => allReady(status) && status.orphans.length === 0, 'its services are taken over')
    expect(await isRunning(hung)).toBe(false)
    supervisor.kill('SIGTERM')
    await supervisor.ended
    expect(await isRunning(other)).toBe(false)
  })
})

describe('workers without a supervisor', () => {
  it('are shown by status, with exit code 3, and named by every command', async () => {
    const pids = await abandoned()
    const { exitCode, stdout, stderr } = await cli('status')
    expect(exitCode).toBe(3)
    expect(stdout).toMatch(/^No supervisor runs here\.\n/)
    for (const name of serviceNames(4)) expect(stdout).toMatch(new RegExp(`^${name} +[12] +\\d+ +ready +100\\.`, 'm'))
    expect(stderr).toContain(`but 2 workers (pid ${pids.join(', ')}) serve 4 services without one`)
    expect(stderr).toContain('Take over: "tsnsrv-sup start --config <file>". End them: "tsnsrv-sup stop --workers"')
    for (const command of [['stop'], ['stop', '--leave-workers'], ['services'], ['reload']]) {
      const other = await cli(...command)
      expect({ exitCode: other.exitCode, stdout: other.stdout }, command.join(' ')).toEqual({ exitCode: 3, stdout: '' })
      expect(other.stderr, command.join(' ')).toContain('2 workers')
    }
    const json = Unsupervised.parse(JSON.parse((await cli('status', '--json')).stdout))
    expect(json.workers.map(({ pid }) => pid)).toEqual(pids)
    expect(json.workers.flatMap(({ services }) => services.map(({ name }) => name)).sort()).toEqual(serviceNames(4))
    expect(await stillRunning(pids)).toEqual([true, true])
  })

  it('are ended by stop --workers, also one that hangs', async () => {
    const pids = await abandoned()
    process.kill(pids[1] ?? 0, 'SIGSTOP')
    const { exitCode, stdout } = await cli('stop', '--workers')
    expect(exitCode).toBe(0)
    expect(stdout.match(/^Ended worker shard-[12]-\S+ \(pid \d+\).*\.$/gm)).toHaveLength(2)
    expect(await stillRunning(pids)).toEqual([false, false])
    expect(await readdir(stack.runDir)).toEqual(['supervisor.sock'])
    expect(await cli('stop', '--workers')).toMatchObject({ exitCode: 0, stdout: 'No worker runs without a supervisor.' })
    await stack.startReady()
  })

  it('are left alone by stop --workers where it cannot know whose they are', async () => {
    const pids = await abandoned()
    const { exitCode, stderr } = await stack.cli('stop', '--workers', '--run-dir', stack.runDir)
    expect(exitCode).toBe(2)
    expect(stderr).toContain('say which with --state-dir or --config')
    expect(await stillRunning(pids)).toEqual([true, true])
  })
})

describe('a worker whose run directory is lost', () => {
  /** As versions that took hidden workers for dead have done. */
  async function lost(): Promise<{ pids: number[]; lostPid: number }> {
    const pids = await abandoned()
    const directory = (await readdir(stack.runDir)).find((name) => name.startsWith('shard-1-')) ?? ''
    await rm(join(stack.runDir, directory), { recursive: true })
    return { pids, lostPid: pids[0] ?? 0 }
  }

  it('is named by the next supervisor with what it holds, and ended by a command, whereupon its services are taken over', async () => {
    const { pids, lostPid } = await lost()
    stack.start()
    const found = await stack.until(({ orphans }) => orphans.length > 0, 'it is found')
    expect(found.orphans).toMatchObject([{ pid: lostPid, services: ['svc0', 'svc2'], directory: '', isCertain: true }])
    const settled = await stack.until(
      ({ services }) => services.some(({ reason }) => reason === 'StateDirLocked'),
      'it is in the way',
    )
    expect(settled.services.find(({ reason }) => reason === 'StateDirLocked')?.message).toContain(`(pid ${String(lostPid)})`)
    const { stdout } = await cli('status')
    expect(stdout).toMatch(
      new RegExp(`No supervisor follows worker shard-1-\\S+ \\(pid ${String(lostPid)}\\), which holds svc0, svc2`),
    )
    const ended = await cli('stop', '--workers')
    expect(ended).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^Ended .* with svc0, svc2\.$/) as string })
    const after = await stack.until((status) => allReady(status) && status.orphans.length === 0, 'all ready')
    expect(workerPids(after)).toContain(pids[1])
    expect(workerPids(after)).not.toContain(lostPid)
    expect(await isRunning(lostPid)).toBe(false)
  })

  it('is ended by stop --workers without a supervisor, too', async () => {
    const { pids } = await lost()
    expect((await cli('status')).stdout).toContain('which holds svc0, svc2')
    const { exitCode, stdout } = await cli('stop', '--workers')
    expect({ exitCode, lines: stdout.split('\n').length }).toEqual({ exitCode: 0, lines: 2 })
    expect(await stillRunning(pids)).toEqual([false, false])
  })
})

describe('the next supervisor', () => {
  it('logs how the last one ended, and what became of its workers meanwhile', async () => {
    const [first = 0] = await abandoned()
    process.kill(first, 'SIGKILL')
    const second = await stack.startReady()
    const log = async () => (await cli('logs', '-n', '1000')).stdout
    expect(await log()).toMatch(/the last supervisor \(.*, pid \d+, started .*\) ended without a word/)
    expect(await log()).toMatch(new RegExp(`worker gone .*pid=${String(first)} .*message="it has ended while no supervisor ran"`))
    second.kill('SIGUSR2')
    await second.ended
    const third = await stack.startReady()
    expect(await log()).toMatch(/the last supervisor .* ended as it was told to, and left its workers serving at /)
    third.kill('SIGTERM')
    await third.ended
    await stack.startReady()
    expect(await log()).toMatch(/the last supervisor .* ended as it was told to, with its workers at /)
  })
})
