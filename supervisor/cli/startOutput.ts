/** What `start` shows: on a terminal a progress bar until the services are up; elsewhere one JSON line per transition. */
import { Writable } from 'node:stream'
import type { Operator } from '../core/ports.ts'
import type { Transition } from '../core/transitions.ts'
import { createLog, type Log } from '../effects/supervisorLog.ts'
import { createProgress, type Progress } from './progress.ts'
import type { Output } from './terminal.ts'

export interface StartOutput {
  readonly log: Log
  transition(transition: Transition): void
  /** Shows the progress of `operator` until its services have settled. Returns how to end that before. */
  follow(operator: Operator): () => void
}

/** Shows everything on `stream`. */
export function createStartOutput(stream: Output): StartOutput {
  if (stream.isTTY !== true) {
    const log = createLog(stream, { json: true })
    return {
      log,
      transition: (transition) => {
        logTransition(log, transition)
      },
      follow: () => () => undefined,
    }
  }
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
  const log = createLog(aboveTheBar, { json: false })
  return {
    log,
    transition(transition) {
      // The bar tells what goes well.
      if (!progress || isTrouble(transition)) logTransition(log, transition)
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

const isTrouble = ({ to, reason }: Transition) =>
  to === 'failed' || to === 'gone' || to === 'unknown' || to === 'needsLogin' || reason === 'CredentialUnavailable'

function logTransition(log: Log, transition: Transition): void {
  const { subject, name, shard, from, to, reason, message, pid } = transition
  const about = subject === 'service' ? { service: name } : { worker: name }
  const fields = { ...about, shard, pid: pid ?? undefined, from, to, reason, message }
  if (isTrouble(transition)) log.warn(`${subject} ${to}`, fields)
  else log.info(`${subject} ${to}`, fields)
}
