/** `npm run bench`: what N services cost with us, beside what they cost with others, in one run and one report. */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { Command, InvalidArgumentError } from 'commander'
import { execa } from 'execa'
import pc from 'picocolors'
import * as z from 'zod'
import { disturbance, isDisturbed, nextTrial, settle } from '../harness/attempts.ts'
import { type Binaries, buildAll } from '../harness/build.ts'
import { list, wholeNumber } from './commandLine.ts'
import { withStorageHost } from '../harness/host/storageHost.ts'
import { FULL_LOAD_SERVICES } from '../harness/loads.ts'
import { describeMachine, readVersions } from '../harness/measure/machine.ts'
import { type Peers, peerOption, withPeers } from './peers.ts'
import { type ExpectedStart, type Planned, estimateMs, planTrials } from '../harness/plan.ts'
import { renderConsole } from './report/renderConsole.ts'
import { writeReport } from './report/writeReport.ts'
import { LOADS, LoadName, Run, type Start, type Trial } from '../harness/results.ts'
import { allSubjects, subjectOf } from '../harness/subjects/all.ts'
import { type Subject, becomesQuiet } from '../harness/subjects/subject.ts'
import { type Durations, runTrial } from '../harness/trial.ts'

const FULL = {
  sizes: [10, 14, 20, 30, 40, 50, 57, 60],
  largeSizes: [100, 200, 500],
  repeats: { headline: 3, saturation: 3 },
  // A machine that is disturbed all the time must not be measured for ever.
  attempts: 3,
  durations: pace({ startTimeoutMs: 240_000, idle: 30_000, load: 10_000 }),
}
/** The claim that matters most, in ten minutes. */
const QUICK = {
  subjects: ['ours', 'tsnsrv', 'bare'],
  sizes: [57],
  largeSizes: [],
  repeats: { headline: 1, saturation: 1 },
  attempts: 1,
  durations: pace({ startTimeoutMs: 120_000, idle: 16_000, load: 5000 }),
}

function pace({ startTimeoutMs, idle, load }: { startTimeoutMs: number; idle: number; load: number }): Durations {
  return {
    startTimeoutMs,
    quietMs: 5000,
    quietTimeoutMs: 20_000,
    // After its last packet a node keeps paths warm for 45 s, and looks for its public address once more up to 26 s later
    // (magicsock's sessionActiveTimeout and periodicReSTUNTimer).
    coolDownMs: 72_000,
    uplinkTimeoutMs: 300_000,
    warmUpMs: load / 2,
    windowMs: { idle, light: load, moderate: load, saturated: load, connecting: load / 2 },
  }
}

interface Options {
  readonly quick?: true
  readonly sizes?: number[]
  readonly subjects?: string[]
  readonly loads?: LoadName[]
  readonly repeats?: number
  readonly attempts?: number
  readonly peer: Peers
  readonly output?: string
  readonly resume?: string
  readonly dryRun?: true
}

const options = new Command('npm run bench --')
  .description('Measures what N services cost, beside peers, and writes a report. Needs root, for network namespaces.')
  .option('--quick', 'the headline only, within ten minutes')
  .option('--sizes <counts>', 'comma-separated numbers of services', list(wholeNumber))
  .option('--subjects <keys>', 'comma-separated; see --dry-run for all', list(String))
  .option('--loads <loads>', `comma-separated: ${LOADS.join(', ')}`, list(load))
  .option('--repeats <count>', 'of each trial at the headline and at saturation', wholeNumber)
  .option('--attempts <count>', 'at a trial, while stolen CPU time disturbs it (default: 3; with --quick: 1)', wholeNumber)
  .addOption(peerOption())
  .option('--output <directory>', 'where the report goes (default: bench/reports/<date>)')
  .option('--resume <directory>', 'go on with a run that was interrupted: the same options, and its report is completed')
  .option('--dry-run', 'say what would be done, and how long it would take')
  .parse()
  .opts<Options>()

const preset = options.quick ? QUICK : FULL
const sizes = options.sizes ?? preset.sizes
const headline = sizes.includes(57) ? 57 : Math.max(...sizes)

try {
  process.exitCode = await main()
} catch (error) {
  console.error(pc.red(error instanceof Error ? error.message : String(error)))
  process.exitCode = 1
}

async function main(): Promise<number> {
  const binaries = await buildAll(say)
  return withPeers(options.peer, async (peers) => {
    const versions: Run['versions'] = { ...(await readVersions()), headscale: await headscaleVersion(binaries) }
    const subjects = chosen(allSubjects(binaries, versions['tsnsrv-sup'] ?? '', peers))
    const trials = planTrials({
      subjects: subjects.map(({ info: { key }, scope }) => ({ key, ...(scope && { scope }) })),
      sizes,
      headline,
      saturation: Math.min(FULL_LOAD_SERVICES, headline),
      largeSizes: options.sizes ? [] : preset.largeSizes,
      repeats: options.repeats ? { headline: options.repeats, saturation: options.repeats } : preset.repeats,
      loads: options.loads ?? LOADS,
    })
    showPlan(subjects, trials)
    return options.dryRun ? 0 : measure(binaries, versions, subjects, trials)
  })
}

/** Runs the trials and writes the report after each, so that a run that is cut short is not lost. */
async function measure(
  binaries: Binaries,
  versions: Run['versions'],
  subjects: readonly Subject[],
  trials: readonly Planned[],
): Promise<number> {
  const begun = Date.now()
  const directory = resolve(
    options.resume ?? options.output ?? join('bench', 'reports', new Date(begun).toISOString().slice(0, 10)),
  )
  const run = await withStorageHost(async (host, signal) => {
    const run: Run = {
      format: 2,
      startedAt: new Date(begun).toISOString(),
      seconds: 0,
      command: ['npm run bench --', ...process.argv.slice(2)].join(' '),
      complete: false,
      machine: describeMachine(),
      versions,
      host: host.describe(),
      planned: trials.length,
      subjects: subjects.map(({ info }) => info),
      trials: [],
      discarded: [],
    }
    // A call, as the compiler would not expect the answer to change.
    const interrupted = () => signal.aborted
    const secondsBefore = options.resume === undefined ? 0 : await resume(run, directory)
    const findNext = () => nextTrial(trials, run, options.attempts ?? preset.attempts)
    run.complete = findNext() === undefined
    for (let next = findNext(); next && !interrupted(); next = findNext()) {
      const subject = subjects.find(({ info }) => info.key === next.subject)
      if (!subject) break
      host.check()
      const number = String(trials.indexOf(next) + 1).padStart(String(trials.length).length)
      const label = `${number}/${trials.length} ${subject.info.title}, ${next.services} services`
      const bench = {
        binaries,
        host,
        durations: preset.durations,
        signal,
        progress: (phase: string) => status(`${label}: ${phase}`),
      }
      const trial = await runTrial({ ...next, subject }, bench)
      say(`${label}: ${summary(trial)}`)
      if (!interrupted()) Object.assign(run, settle(run, trial))
      run.seconds = secondsBefore + (Date.now() - begun) / 1000
      run.complete = findNext() === undefined
      await writeReport(run, directory)
    }
    return run
  })
  console.log(`\n${renderConsole(run)}\nThe report: ${join(directory, 'report.md')}`)
  return run.complete && run.trials.every(({ aborted }) => aborted === null) ? 0 : 1
}

/**
 * Takes over what is measured already, and gives how long that took. What was given up is tried again. Throws where the numbers
 * could not stand side by side.
 */
async function resume(run: Run, directory: string): Promise<number> {
  const before = Run.parse(JSON.parse(await readFile(join(directory, 'results.json'), 'utf8')))
  for (const part of ['machine', 'versions', 'subjects'] as const) {
    if (isDeepStrictEqual(before[part], run[part])) continue
    throw new Error(
      `${directory} cannot be completed: its ${part} were ${JSON.stringify(before[part])}, and are now ${JSON.stringify(run[part])}`,
    )
  }
  run.startedAt = before.startedAt
  run.command = before.command
  run.trials = before.trials.filter(({ aborted }) => aborted === null)
  run.discarded = before.discarded
  return before.seconds
}

async function headscaleVersion({ headscale }: Binaries): Promise<string> {
  const { stdout } = await execa(headscale, ['version', '--output', 'json'])
  return z.looseObject({ version: z.string() }).parse(JSON.parse(stdout)).version
}

/** One line on a trial that is over. */
function summary(trial: Trial): string {
  const { aborted, start, restart, seconds } = trial
  const { idle, saturated } = trial.windows
  const figures = [
    start && upAfter(start),
    idle && `idle ${((100 * idle.cpuSeconds) / idle.seconds).toFixed(2)} % CPU, ${Math.round(idle.pssBytes / 1e6)} MB`,
    saturated?.requests &&
      `${Math.round(saturated.requests.perSecond)} requests/s, ${Math.round((1e6 * saturated.cpuSeconds) / saturated.requests.total)} ms CPU per 1,000`,
    restart && `again ${upAfter(restart)}`,
    isDisturbed(disturbance(trial)) && pc.yellow(`disturbed: ${(100 * disturbance(trial)).toFixed(1)} % of the CPU was stolen`),
    aborted !== null && pc.red(`given up: ${aborted}`),
  ]
  return `${figures.filter(Boolean).join('; ')} (${Math.round(seconds)} s)`
}

function upAfter({ readySeconds, answeredSeconds }: Start): string {
  const ready = readySeconds === null ? '' : `ready after ${readySeconds.toFixed(1)} s, `
  return `${ready}all answer after ${answeredSeconds.toFixed(1)} s`
}

function chosen(all: readonly Subject[]): readonly Subject[] {
  const { quick, subjects } = options
  if (subjects) return subjects.map((key) => subjectOf(all, key))
  // Of peers, those that were given.
  return quick ? all.filter(({ info: { key } }) => QUICK.subjects.includes(key)) : all
}

function showPlan(subjects: readonly Subject[], trials: readonly Planned[]): void {
  const minutes = estimateMs(trials, preset.durations, ({ subject, services }) => startOf(subject, subjects, services)) / 60_000
  for (const { info } of subjects) say(`${info.key.padEnd(24)} ${info.about}`)
  say(`${trials.length} trials, about ${Math.ceil(minutes)} minutes`)
}

/** How a subject starts, as seen on two cores. */
function startOf(key: string, subjects: readonly Subject[], services: number): ExpectedStart {
  const info = subjects.find((subject) => subject.info.key === key)?.info
  if (!info || becomesQuiet(info)) return { answeredMs: 4000 + 100 * services, becomesQuiet: true }
  // tsbridge starts its services one after another. With the others, each node wakes all that are there already.
  const answeredMs = key === 'tsbridge' ? 2300 * services : 3000 + 10 * services ** 2
  return { answeredMs, becomesQuiet: false }
}

/** A line that stays. */
function say(line: string): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
  console.error(line)
}

/** A line that the next one replaces; only where somebody looks on. */
function status(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${pc.dim(line)}`)
}

function load(text: string): LoadName {
  const known = LoadName.safeParse(text)
  if (known.success) return known.data
  throw new InvalidArgumentError(`"${text}" is none of ${LOADS.join(', ')}`)
}
