/**
 * `npm run bench:pairs`: what a measure is worth under full load, or how another worker compares. All contenders are up beside
 * each other and are asked in turn, for two seconds each, again and again. A machine's good and bad minutes are everyone's then,
 * and the pairs tell of a few per cent, where trials that are minutes apart differ by a third.
 */
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Command } from 'commander'
import { markdownTable } from 'markdown-table'
import pc from 'picocolors'
import { type Binaries, buildAll } from '../build.ts'
import { list, wholeNumber } from '../commandLine.ts'
import { type StorageHost, withStorageHost } from '../host/storageHost.ts'
import { FULL_LOAD_SERVICES, SHAPES } from '../loads.ts'
import { sampleTree } from '../measure/processTree.ts'
import { type Peers, peerOption, withPeers } from '../peers.ts'
import { allSubjects, subjectOf } from '../subjects/all.ts'
import { ours } from '../subjects/ours.ts'
import type { Running, Subject } from '../subjects/subject.ts'
import type { Client } from '../world/client.ts'
import { withWorld } from '../world/world.ts'
import { type Quartiles, type Turn, compare } from './compare.ts'

const TURN_MS = 2000
const START_TIMEOUT_MS = 120_000
/** Between one contender's port for metrics and the next one's. */
const PORTS = 100

interface Options {
  readonly subjects: readonly string[]
  readonly worker: readonly string[]
  readonly peer: Peers
  readonly rounds: number
}

const options = new Command('npm run bench:pairs --')
  .description('Compares subjects of the benchmark under full load and side by side. Needs root, for network namespaces.')
  .option('--subjects <keys>', 'comma-separated, beside ours; see npm run bench -- --dry-run', list(String), [])
  .option('--worker <files>', 'comma-separated worker binaries to compare ours with', list(String), [])
  .addOption(peerOption())
  .option('--rounds <count>', 'how often each has its turn', wholeNumber, 20)
  .parse()
  .opts<Options>()

try {
  await main()
} catch (error) {
  console.error(pc.red(error instanceof Error ? error.message : String(error)))
  process.exitCode = 1
}

async function main(): Promise<void> {
  const binaries = await buildAll(console.error)
  const turns = await withPeers(options.peer, (peers) => {
    const subjects = contenders(binaries, allSubjects(binaries, '', peers))
    return withStorageHost((host, signal) => takeTurns(subjects, binaries, host, signal))
  })
  const rows = compare(turns).map(({ title, cpuPerThousand, cpuRatio, requestsRatio }) => [
    title,
    describe(cpuPerThousand, 0),
    describe(cpuRatio, 2),
    describe(requestsRatio, 2),
  ])
  const head = ['median (middle half)', 'ms of CPU per 1,000 requests', 'times the CPU per request', 'times the requests']
  console.log(`\n${markdownTable([head, ...rows])}`)
}

function contenders(binaries: Binaries, known: readonly Subject[]): Subject[] {
  const all = known.filter(({ https }) => !https) // one client asks all of them, by http
  const variant = (title: string, worker: string) =>
    ours({ ...binaries, worker }, '', { key: title, title, about: '', group: 'ours' })
  return [
    subjectOf(all, 'ours'),
    // What differs between two that are the same is chance.
    variant('the same again', binaries.worker),
    ...options.worker.map((file) => variant(file, resolve(file))),
    ...options.subjects.map((key) => subjectOf(all, key)),
  ]
}

async function takeTurns(subjects: Subject[], binaries: Binaries, host: StorageHost, signal: AbortSignal) {
  const turns = new Map(subjects.map(({ info }) => [info.title, [] as Turn[]]))
  const started: { title: string; running: Running; services: readonly string[] }[] = []
  await withWorld(FULL_LOAD_SERVICES * subjects.length, { binaries, host }, async (surroundings, client) => {
    try {
      for (const [i, subject] of subjects.entries()) {
        const directory = join(surroundings.directory, String(i))
        await mkdir(directory, { mode: 0o700 })
        const services = surroundings.services.slice(i * FULL_LOAD_SERVICES, (i + 1) * FULL_LOAD_SERVICES)
        const metricsPort = surroundings.metricsPort + i * PORTS
        const running = await subject.start({ ...surroundings, directory, services, metricsPort })
        started.push({ title: subject.info.title, running, services })
        await client.untilAllAnswer(services, START_TIMEOUT_MS)
      }
      // The first round is for connections, paths and collectors to settle.
      for (let round = 0; round <= options.rounds; round++) {
        // Whoever comes first in one round comes last in the next.
        for (const { title, running, services } of round % 2 === 0 ? started : started.toReversed()) {
          signal.throwIfAborted()
          const turn = await takeTurn(running, services, client)
          if (round > 0) turns.get(title)?.push(turn)
        }
        console.error(`round ${round} of ${options.rounds}`)
      }
    } finally {
      for (const { running } of started) await running.stop()
    }
  })
  return turns
}

async function takeTurn(running: Running, services: readonly string[], client: Client): Promise<Turn> {
  const look = () => sampleTree(running.roots()).cpuSeconds
  let before = look()
  const { total, failed } = await client.load(services, SHAPES.saturated, TURN_MS, () => {
    before = look()
  })
  if (failed > 0) throw new Error(`${failed} of ${total} requests failed`)
  return { cpuSeconds: look() - before, requests: total }
}

function describe({ lower, median, upper }: Quartiles, digits: number): string {
  return `${median.toFixed(digits)} (${lower.toFixed(digits)} to ${upper.toFixed(digits)})`
}
