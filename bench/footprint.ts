/**
 * `npm run bench:footprint`: what so many services cost on this machine when nobody uses them. Real supervisor, workers and
 * nodes on the lab's tailnet; prints one JSON object. The lab sends every node the whole network map at any change, so the
 * workers' figures are higher than against a real control server.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Command, InvalidArgumentError } from 'commander'
import { startLab } from '../demo/lab.ts'
import { endLeftovers } from '../demo/leftovers.ts'
import { sampleServices } from '../demo/sampleServices.ts'
import { startSupervisor, type Supervisor } from '../demo/supervisor.ts'
import { buildMissing } from '../scripts/build.ts'
import type { Status } from '../shared/api.ts'

interface Options {
  services: number
  shardSize: number
  settle: number
  idle: number
}

/** USER_HZ, in which the kernel counts CPU time towards programs: proc(5). 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

const options = new Command('npm run bench:footprint --')
  .option('--services <n>', 'how many', wholeNumber, 57)
  .option('--shard-size <n>', 'most services in one worker', wholeNumber, 20)
  .option('--settle <seconds>', 'from the last ready service to the measurement', wholeNumber, 150)
  .option('--idle <seconds>', 'how long CPU is measured', wholeNumber, 30)
  .parse()
  .opts<Options>()
console.log(JSON.stringify(await measure(options), null, 2))

/** CPU in per cent of one core, memory in bytes, times in seconds. */
async function measure({ services: count, shardSize, settle, idle }: Options): Promise<Record<string, number>> {
  const say = (line: string) => {
    console.error(line)
  }
  const built = await buildMissing({ report: say })
  const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-bench-'))
  const lab = await startLab({ binary: built.lab, upstreams: count })
  let supervisor: Supervisor | undefined
  try {
    const services = await sampleServices(lab)
    const startedAt = performance.now()
    supervisor = await startSupervisor({ ...built, directory, controlURL: lab.controlURL, shardSize, services })
    const status = await untilReady(supervisor, count)
    const secondsUntilReady = (performance.now() - startedAt) / 1000
    say(`${String(count)} services ready after ${secondsUntilReady.toFixed(2)} s; settling for ${String(settle)} s`)
    // Watched no longer: a supervisor that nobody asks is what is measured.
    await delay(settle * 1000)
    const workers = status.shards.flatMap(({ workerPid }) => workerPid ?? [])
    const before = await Promise.all([status.pid, ...workers].map(cpuSeconds))
    await delay(idle * 1000)
    const after = await Promise.all([status.pid, ...workers].map(cpuSeconds))
    const [supervisorCPU = 0, ...workerCPU] = after.map((seconds, i) => (100 * (seconds - (before[i] ?? 0))) / idle)
    return {
      services: count,
      shards: status.shards.length,
      secondsUntilReady,
      supervisorCPUPercent: supervisorCPU,
      supervisorRSSBytes: await memory(status.pid, 'Rss'),
      supervisorPSSBytes: await memory(status.pid, 'Pss'),
      workersCPUPercent: sum(workerCPU),
      workersPSSBytes: sum(await Promise.all(workers.map((pid) => memory(pid, 'Pss')))),
    }
  } finally {
    await supervisor?.stop()
    await lab.stop()
    await endLeftovers(directory)
    await rm(directory, { recursive: true, force: true })
  }
}

async function untilReady(supervisor: Supervisor, count: number): Promise<Status> {
  const enough = new AbortController()
  let last: Status | undefined
  await supervisor.watch(
    (status) => {
      last = status
      if (status.services.filter(({ ready }) => ready).length === count) enough.abort()
    },
    AbortSignal.any([enough.signal, AbortSignal.timeout(120_000)]),
  )
  if (!enough.signal.aborted || !last) throw new Error('not all services were ready within 120 s')
  return last
}

/** User and system time of a process: fields 14 and 15 of /proc/<pid>/stat, counted from the end of the command. */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

async function memory(pid: number, kind: 'Rss' | 'Pss'): Promise<number> {
  const rollup = await readFile(`/proc/${String(pid)}/smaps_rollup`, 'utf8')
  return Number(new RegExp(`^${kind}: +(\\d+) kB`, 'm').exec(rollup)?.[1]) * 1024
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0)
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('want a whole number')
  return Number(text)
}
