/**
 * `npm run bench:attacks`: what a client can take from a service, and from the others in its shard. Real supervisor, worker and
 * nodes on the lab's tailnet; the load goes to nothing but what the lab has made on this machine. Needs no root.
 */
import { resolve } from 'node:path'
import { once } from 'node:events'
import { Command, InvalidArgumentError } from 'commander'
import pc from 'picocolors'
import { type Tools, buildTools } from '../../harness/build.ts'
import { list, wholeNumber } from '../commandLine.ts'
import { describeMachine, readVersions } from '../../harness/measure/machine.ts'
import { type Assault, listAttacks } from './attacker.ts'
import { renderConsole, renderMarkdown } from './report.ts'
import { type Attacks, WAYS, Way } from './results.ts'
import { withStage } from './stage.ts'
import { type Pace, runTrial } from './trial.ts'
import { judge } from './verdict.ts'

/** How long the neighbour is asked before and after an attack, and how long its openings take; less when the attack is shorter. */
const BEFORE_MS = 3000
const AFTER_MS = 2000
const OPENING_MS = 2500

interface Options {
  readonly attacks?: string[]
  readonly via: Way[]
  readonly seconds: number
  readonly settle: number
  readonly count?: number
  readonly clients: number
  readonly worker?: string
  readonly json?: true
  readonly markdown?: true
}

const options = new Command('npm run bench:attacks --')
  .description('Attacks a service in each way, and measures its worker and a neighbour. Exit code 1: a requirement was not met.')
  .option('--attacks <names>', 'comma-separated; all by default', list(String))
  .option('--via <ways>', `comma-separated: ${WAYS.join(', ')}`, list(way), [...WAYS])
  .option('--seconds <count>', 'how long each attack lasts', wholeNumber, 5)
  .option('--settle <count>', 'how many seconds after it the worker may take to be as before', wholeNumber, 17)
  .option('--count <count>', 'openings of each attack, instead of its own number', wholeNumber)
  .option('--clients <count>', 'addresses of the internet that they come from', wholeNumber, 1)
  .option('--worker <file>', 'another tsnsrv-worker to attack')
  .option('--json', 'print all figures as JSON on stdout')
  .option('--markdown', 'print the tables as Markdown on stdout')
  .parse()
  .opts<Options>()

const FAILED = 1
const BROKEN = 2

try {
  process.exitCode = await main()
} catch (error) {
  console.error(pc.red(error instanceof Error ? error.message : String(error)))
  process.exitCode = BROKEN
}

async function main(): Promise<number> {
  const built = await buildTools(console.error)
  const tools = options.worker === undefined ? built : { ...built, worker: resolve(options.worker) }
  const assaults = await plan(tools)
  const began = Date.now()
  const run: Attacks = {
    format: 1,
    startedAt: new Date(began).toISOString(),
    seconds: 0,
    command: ['npm run bench:attacks --', ...process.argv.slice(2)].join(' '),
    machine: describeMachine(),
    versions: await readVersions(),
    attackSeconds: options.seconds,
    settleSeconds: options.settle,
    trials: [],
    aborted: [],
  }
  await attackAll(tools, assaults, run)
  run.seconds = (Date.now() - began) / 1000
  console.log(options.json ? JSON.stringify(run, null, 1) : options.markdown ? renderMarkdown(run) : renderConsole(run))
  const isMet = run.aborted.length === 0 && run.trials.every(({ verdicts }) => verdicts.every(({ met }) => met))
  return isMet ? 0 : FAILED
}

/** Each attack by each way. Throws naming the attacks that there are. */
async function plan({ bench }: Tools): Promise<Assault[]> {
  const known = (await listAttacks(bench)).map(({ name }) => name)
  const { attacks = known, via: ways, count, clients } = options
  const unknown = attacks.filter((attack) => !known.includes(attack))
  if (unknown.length > 0) throw new Error(`there is no attack ${unknown.join(', ')}; there are ${known.join(', ')}`)
  return attacks.flatMap((attack) => ways.map((via) => ({ attack, via, clients, ...(count !== undefined && { count }) })))
}

/** Fills in `run`. Each attack has a stage of its own, as what one has left would be counted to the next. */
async function attackAll(tools: Tools, assaults: readonly Assault[], run: Attacks): Promise<void> {
  const attackMs = options.seconds * 1000
  const pace: Pace = {
    beforeMs: Math.min(BEFORE_MS, attackMs),
    openingMs: Math.min(OPENING_MS, attackMs / 2),
    attackMs,
    afterMs: Math.min(AFTER_MS, attackMs),
    settleMs: options.settle * 1000,
  }
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => stop.abort(new Error('interrupted')))
  const interrupted = once(stop.signal, 'abort').then(() => Promise.reject(stop.signal.reason as Error))
  interrupted.catch(() => undefined)
  for (const assault of assaults) {
    const progress = (phase: string) => {
      console.error(`${assault.attack} via ${assault.via}: ${phase}`)
    }
    progress('starting')
    try {
      const trial = await withStage(tools, interrupted, (stage) => runTrial(stage, assault, pace, progress))
      run.trials.push({ ...trial, verdicts: judge(trial) })
    } catch (error) {
      stop.signal.throwIfAborted()
      const why = error instanceof Error ? error.message : String(error)
      run.aborted.push({ attack: assault.attack, via: assault.via, why })
    }
  }
}

function way(text: string): Way {
  const known = Way.safeParse(text)
  if (known.success) return known.data
  throw new InvalidArgumentError(`"${text}" is none of ${WAYS.join(', ')}`)
}
