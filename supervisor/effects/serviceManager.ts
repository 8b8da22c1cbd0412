/**
 * Tells the service manager that started the supervisor how it is, by sd_notify(3): started, one line of status, alive, stopping.
 *
 * The messages are datagrams on a Unix socket, which Node cannot send. systemd's own program sends them, and returns when they have
 * been read, so that systemd still knows which unit the sender belonged to. It takes some milliseconds, a few times a minute.
 */
import { execa } from 'execa'
import { inWords } from '../../shared/systemErrors.ts'
import type { Operator } from '../core/ports.ts'
import { describeServices, isStarted } from '../core/readiness.ts'

interface Patience {
  /** Share of the services that count as started, and how long they are waited for. */
  readonly readyPercent: number
  readonly readyTimeoutMs: number
  /** How long a stop may take the services. */
  readonly drainTimeoutMs: number
}

/** Changes come in bursts; the line is told so often, at most. */
const PAUSE_MS = 1000
/** What starting and stopping take beside waiting for services. */
const OWN_MS = 30_000

/**
 * Follows `operator` until the returned function is called; that resolves when the last message has been sent. Does nothing where no
 * service manager listens (NOTIFY_SOCKET). `patience` is read when it matters. `onProblem` is called once, if nothing can be sent.
 */
export function tellServiceManager(
  operator: Pick<Operator, 'status' | 'onChange'>,
  env: Readonly<Record<string, string | undefined>>,
  patience: () => Patience,
  onProblem: (problem: string) => void,
): () => Promise<void> {
  const { NOTIFY_SOCKET, PATH } = env
  if (!NOTIFY_SOCKET) return () => Promise.resolve()
  const told = new Map<string, string>()
  let sent = Promise.resolve()
  let hasFailed = false

  /** Sends what has not been told yet, after what was sent before. */
  function tell(fields: Readonly<Record<string, string>>): void {
    const news = Object.entries(fields).filter(([name, value]) => told.get(name) !== value)
    if (news.length === 0) return
    for (const [name, value] of news) told.set(name, value)
    const message = news.map(([name, value]) => `${name}=${value}`)
    sent = sent.then(async () => {
      try {
        await execa('systemd-notify', message, {
          env: { NOTIFY_SOCKET, PATH },
          extendEnv: false,
          stdin: 'ignore',
          timeout: 10_000,
        })
      } catch (error) {
        if (!hasFailed) onProblem(`systemd is not told how the services are, as systemd-notify failed: ${inWords(error)}`)
        hasFailed = true
      }
    })
  }

  const deadline = Date.now() + patience().readyTimeoutMs
  /** What is so by now. */
  function look(): void {
    const status = operator.status()
    const isStopping = status.phase === 'stopping'
    const hasStarted = told.has('READY') || isStarted(status, patience().readyPercent) || Date.now() >= deadline
    tell({
      ...(hasStarted && !isStopping && { READY: '1' }),
      ...(isStopping && { STOPPING: '1', EXTEND_TIMEOUT_USEC: microseconds(patience().drainTimeoutMs + OWN_MS) }),
      STATUS: describeServices(status),
    })
  }

  tell({ EXTEND_TIMEOUT_USEC: microseconds(patience().readyTimeoutMs + OWN_MS) })
  const looking = setTimeout(look, patience().readyTimeoutMs)
  let pause: NodeJS.Timeout | undefined
  let isDue = false
  function lookInTurn(): void {
    isDue = pause !== undefined
    if (isDue) return
    look()
    pause = setTimeout(() => {
      pause = undefined
      if (isDue) lookInTurn()
    }, PAUSE_MS)
  }
  const stopListening = operator.onChange(lookInTurn)
  const alive = setInterval(() => {
    told.delete('WATCHDOG')
    tell({ WATCHDOG: '1' })
  }, watchdogMs(env) / 2)

  return async () => {
    for (const timer of [looking, pause, alive]) clearTimeout(timer)
    stopListening()
    look()
    await sent
  }
}

/** How often it wants a sign of life; for ever, nearly, when this process is not asked for one. */
function watchdogMs({ WATCHDOG_USEC, WATCHDOG_PID = String(process.pid) }: Readonly<Record<string, string | undefined>>): number {
  return WATCHDOG_USEC && WATCHDOG_PID === String(process.pid) ? Number(WATCHDOG_USEC) / 1000 : 2 ** 31 - 1
}

const microseconds = (ms: number): string => String(ms * 1000)
