/** What `start` shows: on a terminal a progress bar until the services are up; elsewhere one JSON line per transition. */
import { Writable } from 'node:stream'
import { isTrouble } from '../core/eventLog.ts'
import type { Operator } from '../core/ports.ts'
import type { Transition } from '../core/transitions.ts'
import { createLog, type Log } from '../effects/supervisorLog.ts'
import type { Progress } from './progress.ts'
import type { Output } from './terminal.ts'

export interface StartOutput {
  readonly log: Log
  transition(transition: Transition): void
  /** Shows the progress of `operator` until its services have settled. Returns how to end that before. */
  follow(operator: Operator): () => void
}

/** Shows everything on `stream`, and keeps it in `file` for `tsnsrv-sup logs`. */
export async function createStartOutput(stream: Output, file: NodeJS.WritableStream): Promise<StartOutput> {
  const kept = createLog(file, { json: true })
  const keep = (transition: Transition) => {
    if (!isToldByWorker(transition)) logTransition(kept, transition)
  }
  if (stream.isTTY !== true) {
    const shown = createLog(stream, { json: true })
    return {
      log: both(shown, kept),
      transition: (transition) => {
        logTransition(shown, transition)
        keep(transition)
      },
      follow: () => () => undefined,
    }
  }
  // Loaded only now: a service has no terminal, and need not hold what draws on one in memory.
  const { createProgress } = await import('./progress.ts')
  let progress: Progress | null = null
  // A line that were written beside the bar would tear it.
  const aboveTheBar = new Writable({
    decodeStrings: false,
    write(line: string, _encoding, done) {
      if (progress) progress.print(line.trimEnd())
      else stream.write(line)
      done()
    },
  })
  const shown = createLog(aboveTheBar, { json: false })
  return {
    log: both(shown, kept),
    transition(transition) {
      keep(transition)
      // The bar tells what goes well.
      if (!progress || isTrouble(transition)) logTransition(shown, transition)
    },
    follow(operator) {
      progress = createProgress(stream)
      const end = () => {
        stopListening()
        progress?.done(summaryOf(operator))
        progress = null
      }
      const stopListening = operator.onChange(() => {
        const status = operator.status()
        progress?.update(status)
        if (status.phase !== 'starting') end()
      })
      return () => {
        if (progress) end()
      }
    },
  }
}

function summaryOf(operator: Operator): string {
  const { services, shards } = operator.status()
  const ready = services.filter((service) => service.ready).length
  return `${String(ready)} of ${String(services.length)} services ready in ${String(shards.length)} shards`
}

function both(one: Log, other: Log): Log {
  const tell = (level: keyof Log) => (msg: string, fields?: Record<string, unknown>) => {
    one[level](msg, fields)
    other[level](msg, fields)
  }
  return { info: tell('info'), warn: tell('warn'), error: tell('error') }
}

/** The log of its worker has it already, but for the URL of a login, and `tsnsrv-sup logs` shows both. */
function isToldByWorker({ subject, pid, from, to }: Transition): boolean {
  return subject === 'service' ? pid !== null && to !== 'needsLogin' : from === 'spawning' && to === 'ready'
}

function logTransition(log: Log, transition: Transition): void {
  const { subject, name, shard, from, to, reason, message, pid } = transition
  const about = subject === 'service' ? { service: name } : { worker: name }
  const fields = { ...about, shard: shard || undefined, pid: pid ?? undefined, from, to, reason, message }
  if (isTrouble(transition)) log.warn(`${subject} ${to}`, fields)
  else log.info(`${subject} ${to}`, fields)
}
