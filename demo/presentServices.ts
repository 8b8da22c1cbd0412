/** The part of the demo that a person watches: nodes come up, services answer, and what is done to them shows. */
import type { ServiceView, Status } from '../shared/api.ts'
import type { Output } from '../supervisor/cli/terminal.ts'
import { askService, type Lab, serviceURL } from './lab.ts'
import { type SampleService, upstreamName } from './sampleServices.ts'
import { renderHints, renderServices, showChanges, showProgress } from './show.ts'
import type { Supervisor } from './supervisor.ts'

export interface Presentation {
  /** How long to stay after the services are up; without it until interrupted, or not at all with `json`. */
  seconds?: number
  json?: true
}

export interface Stage {
  lab: Lab
  supervisor: Supervisor
  services: readonly SampleService[]
  screen: Output
  /** Ends the presentation. */
  signal: AbortSignal
}

/** What `--json` prints. */
export interface Summary {
  servicesReady: number
  services: number
  shards: number
  /** From the start of the supervisor until all services were ready; null when that did not happen. */
  secondsUntilReady: number | null
  requestsOk: number
  requestsFailed: number
}

/** Nodes join side by side, but many of them on a slow machine need their time. */
const readyTimeoutMs = (services: number) => 60_000 + services * 1000

/** Rejects when the supervisor ends by itself, with its last words, and when it is interrupted before all is up. */
export async function presentServices(options: Presentation, stage: Stage): Promise<Summary> {
  const { lab, screen, services } = stage
  const say = (text: string) => screen.write(`${text}\n`)
  const { status, secondsUntilReady } = await untilReady(stage)
  say(`\n${renderServices(status.services, (name) => serviceURL(lab, name), screen)}\n`)

  const problems = (await Promise.all(services.map((service) => checkService(lab, service)))).filter((problem) => problem !== '')
  const requestsOk = services.length - problems.length
  for (const problem of problems) say(problem)
  say(`${requestsOk} of ${services.length} services answered through the tailnet.`)

  const leave = options.seconds === undefined ? options.json && AbortSignal.abort() : AbortSignal.timeout(options.seconds * 1000)
  if (leave?.aborted !== true) {
    say(`\n${renderHints(status, lab.gatewayURL, screen)}\n`)
    await follow(stage, showChanges(screen), leave)
  }
  return {
    servicesReady: readyOnes(status).length,
    services: services.length,
    shards: status.shards.length,
    secondsUntilReady,
    requestsOk,
    requestsFailed: problems.length,
  }
}

async function untilReady(stage: Stage): Promise<{ status: Status; secondsUntilReady: number | null }> {
  const startedAt = performance.now()
  const wanted = stage.services.length
  const progress = showProgress(stage.screen)
  const allReady = new AbortController()
  const timeout = AbortSignal.timeout(readyTimeoutMs(wanted))
  let status: Status | undefined
  let summary = ''
  try {
    const show = (next: Status) => {
      status = next
      progress.update(next)
      if (readyOnes(next).length === wanted) allReady.abort()
    }
    await follow(stage, show, AbortSignal.any([allReady.signal, timeout]))
    stage.signal.throwIfAborted()
    if (!status) throw new Error(`the supervisor did not answer within ${readyTimeoutMs(wanted)} ms`)
    const seconds = Math.round((performance.now() - startedAt) / 10) / 100
    summary = `${readyOnes(status).length} of ${wanted} services ready in ${status.shards.length} shards after ${seconds} s`
    return { status, secondsUntilReady: allReady.signal.aborted ? seconds : null }
  } finally {
    progress.done(summary)
  }
}

/** Watches until `enough`, or until the presentation is interrupted. Rejects when the supervisor ends before. */
async function follow(
  { supervisor, signal }: Stage,
  onStatus: (status: Status) => void,
  enough?: AbortSignal | false,
): Promise<void> {
  const until = enough ? AbortSignal.any([signal, enough]) : signal
  await supervisor.watch(onStatus, until)
  if (!until.aborted) throw new Error(await supervisor.ended)
}

/** Why a service did not answer as itself, in one line; empty when it did. */
async function checkService(lab: Lab, { name }: SampleService): Promise<string> {
  try {
    const { status, body } = await askService(lab, name, '/whoami')
    if (status !== 200) return `${name}: answered ${status}`
    const answered = upstreamName(body)
    return answered === name ? '' : `${name}: the upstream of ${answered} answered`
  } catch (error) {
    return `${name}: ${error instanceof Error ? error.message : String(error)}`
  }
}

const readyOnes = (status: Status): ServiceView[] => status.services.filter((service) => service.ready)
