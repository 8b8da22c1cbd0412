/** Everything around an attack: the lab's tailnet with its Funnel, the services, a neighbour's clients, and the attacker. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import * as z from 'zod'
import { startLab } from '../../../demo/lab.ts'
import { endLeftovers } from '../../../demo/leftovers.ts'
import type { Tools } from '../../harness/build.ts'
import { type Load, joinClient } from '../../harness/world/client.ts'
import { startTool } from '../../harness/world/tool.ts'
import { type Attacker, joinAttacker } from './attacker.ts'
import { ELSEWHERE, elsewhere, measureSession, measuring } from './niceness.ts'
import type { Neighbour } from './results.ts'
import { ANSWERING, NEIGHBOUR, PLAIN, SECURE, startServices } from './services.ts'
import type { WorkerProcess } from './watch.ts'

export interface Stage {
  readonly attacker: Attacker
  /** The worker's log files are in it. */
  readonly logs: string
  /** The worker that serves all services now. */
  worker(): Promise<WorkerProcess>
  /** Asks the neighbour for so long. */
  probe(durationMs: number): Promise<Neighbour>
}

/** The neighbour's clients. They are few, as they share the machine with the worker. */
const KEPT: Load = { mode: 'rate', perSecondEach: 25, connections: 1 }
const FRESH: Load & { fresh: boolean } = { mode: 'rate', perSecondEach: 10, connections: 1, fresh: true }

const FUNNEL_PORT = '443'
const ANSWER_TIMEOUT_MS = 60_000
const LOOK_MS = 50

/** A stage for as long as `use` takes, or until `interrupted` rejects. Whatever happens, nothing of it is left. */
export async function withStage<T>(tools: Tools, interrupted: Promise<never>, use: (stage: Stage) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-attacks-'))
  const undo: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })]
  const over = new AbortController()
  /** Notes what is to be stopped in the end, the last one first. */
  const keep = <S extends { stop(): Promise<void> }>(started: S): S => {
    undo.push(() => started.stop())
    return started
  }
  try {
    const lab = keep(
      await startLab({ binary: tools.lab, upstreams: 0, flags: ['--funnel', '--cache-network-maps'], launcher: ELSEWHERE }),
    )
    const upstream = { file: tools.bench, args: ['upstream', '-exit-with-stdin'], env: ONE_CORE }
    const attackedUpstream = keep(await startTool(elsewhere(upstream)))
    const otherUpstream = keep(await startTool(measuring(upstream)))
    undo.push(() => endLeftovers(directory))
    const services = keep(
      await startServices(tools, {
        directory,
        controlURL: lab.controlURL,
        attackedUpstream: z.string().parse(attackedUpstream.ready.url),
        otherUpstream: z.string().parse(otherUpstream.ready.url),
      }),
    )
    const client = (name: string) => ({
      file: tools.bench,
      args: ['client', '-state-dir', join(directory, name), '-control-url', lab.controlURL],
      env: { ...ONE_CORE, TS_NO_LOGS_NO_SUPPORT: 'true' },
    })
    const kept = keep(await joinClient(measuring(client('kept'))))
    const fresh = keep(await joinClient(measuring(client('fresh'))))
    const funnelAddress = z.string().parse(lab.funnel?.[FUNNEL_PORT])
    const attacker = keep(await joinAttacker(elsewhere(client('attacker')), { secure: SECURE, plain: PLAIN, funnelAddress }))
    const answered = Promise.all([
      kept.untilAllAnswer(ANSWERING, ANSWER_TIMEOUT_MS),
      fresh.untilAllAnswer(ANSWERING, ANSWER_TIMEOUT_MS),
      untilFunnelAnswers(funnelAddress, () => services.nameOf(SECURE), over.signal),
    ])
    await Promise.race([answered, services.failed, interrupted])
    for (const { pid } of [kept, fresh, otherUpstream, await services.worker()]) await measureSession(pid)
    const using = use({
      attacker,
      logs: services.logs,
      worker: () => services.worker(),
      async probe(durationMs) {
        const [overOne, overNew] = await Promise.all([
          kept.load([NEIGHBOUR], KEPT, durationMs),
          fresh.load([NEIGHBOUR], FRESH, durationMs),
        ])
        return { kept: overOne, fresh: overNew }
      },
    })
    return await Promise.race([using, interrupted])
  } finally {
    over.abort()
    for (const each of undo.reverse()) await each()
  }
}

/** For programs that stand for other machines: they leave a core to the worker. */
const ONE_CORE = { GOMAXPROCS: '1' }

/** Until a client from the internet gets as far as TLS. `nameOf` gives the service's full name, empty while it has none. */
async function untilFunnelAnswers(address: string, nameOf: () => Promise<string>, signal: AbortSignal): Promise<void> {
  const { hostname, port } = new URL(`tcp://${address}`)
  const deadline = Date.now() + ANSWER_TIMEOUT_MS
  for (;;) {
    const servername = await nameOf().catch(() => '')
    if (servername !== '' && (await speaksTLS(hostname, Number(port), servername))) return
    if (Date.now() > deadline)
      throw new Error(`${servername || SECURE} did not answer by funnel within ${ANSWER_TIMEOUT_MS / 1000} s`)
    await delay(LOOK_MS, undefined, { signal })
  }
}

/** Whose certificate it has does not matter. */
function speaksTLS(host: string, port: number, servername: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, servername, rejectUnauthorized: false })
    const done = (spoke: boolean) => {
      socket.destroy()
      resolve(spoke)
    }
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => done(false))
    socket
      .on('secureConnect', () => done(true))
      .on('error', () => done(false))
      .on('close', () => done(false))
  })
}
