/**
 * `npm run demo`: the whole of tsnsrv-sup on one machine, without internet or account. A lab stands for the tailnet, the
 * sample services and the visitor; supervisor, workers and nodes are the real ones.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { buildMissing } from '../scripts/build.ts'
import type { Output } from '../supervisor/cli/terminal.ts'
import { type Lab, startLab } from './lab.ts'
import { endLeftovers } from './leftovers.ts'
import { type Presentation, presentServices } from './presentServices.ts'
import { sampleServices } from './sampleServices.ts'
import { startSupervisor, type Supervisor } from './supervisor.ts'

interface Options extends Presentation {
  services: number
  shardSize: number
  json?: true
}

const FAILED = 1
const WRONG_USAGE = 2
const INTERRUPTED = 130

const program = new Command('npm run demo --')
  .description('Run sample services in shards on a tailnet of their own, and show where to find them.')
  .option('--services <n>', 'how many sample services', atLeastOne, 6)
  .option('--shard-size <n>', 'most services in one worker process', atLeastOne, 3)
  .option('--seconds <n>', 'end by itself this long after all is up (default: at Ctrl-C; with --json at once)', atLeastOne)
  .option('--json', 'print a JSON summary as the last line of stdout, and all else on stderr')
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : WRONG_USAGE))
  .parse()
process.exitCode = await demo(program.opts<Options>())

/** Returns the exit code: 0 only if each service answered through the tailnet, with its own upstream. */
async function demo(options: Options): Promise<number> {
  const screen: Output = options.json ? process.stderr : process.stdout
  const say = (text: string) => screen.write(`${text}\n`)
  const stop = new AbortController()
  const interrupt = () => stop.abort(new Error('interrupted'))
  let directory: string | undefined
  let lab: Lab | undefined
  let supervisor: Supervisor | undefined
  try {
    const built = await buildMissing({ report: say })
    // Not before: until here the default, to end at once, is right.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupt)
    process.on('uncaughtException', (error) => stop.abort(error))

    directory = await mkdtemp(join(tmpdir(), 'tsnsrv-demo-'))
    lab = await startLab({ binary: built.lab, upstreams: options.services })
    void lab.ended.then((message) => stop.abort(new Error(`the lab has ended: ${message}`)))
    const services = await sampleServices(lab)
    supervisor = await startSupervisor({
      ...built,
      directory,
      controlURL: lab.controlURL,
      shardSize: options.shardSize,
      services,
    })

    const summary = await presentServices(options, { lab, supervisor, services, screen, signal: stop.signal })
    if (options.json) process.stdout.write(`${JSON.stringify(summary)}\n`)
    return summary.requestsOk === options.services ? 0 : FAILED
  } catch (error) {
    say(error instanceof Error ? error.message : String(error))
    return stop.signal.aborted ? INTERRUPTED : FAILED
  } finally {
    if (supervisor) say('Stopping everything.')
    // Nodes before their tailnet, and what failed to end before the files that it may still write.
    await supervisor?.stop()
    await lab?.stop()
    if (directory !== undefined) {
      await endLeftovers(directory)
      await rm(directory, { recursive: true, force: true })
    }
  }
}

function atLeastOne(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError('want a whole number, at least 1')
  return number
}
