/** Containers that start and stop: interfaces that come and go. */
import { startAttendant } from './attendant.ts'
import { vethName } from './interfaceNames.ts'

export interface Churn {
  /** Throws when a change failed: from then on nothing comes and goes any more. */
  check(): void
  stop(): Promise<void>
}

/** The part of a period for which an interface is there. */
export const CHURN_PRESENCE = 0.25

/**
 * Every `periodMs` a pair of interfaces appears, gets an address and comes up; a quarter of the period later it goes. One `ip`
 * makes all changes, each as its line arrives: a process per change would cost more than the change.
 */
export function startChurn(namespace: string, periodMs: number): Churn {
  const ip = startAttendant('the interface churn (ip)', 'ip', ['-n', namespace, '-batch', '-'])
  let round = 0
  let departure: NodeJS.Timeout | undefined
  const arrivals = setInterval(() => {
    round += 1
    const [near, far] = [vethName(`churn ${round}`), vethName(`churn ${round} peer`)]
    ip.send(`link add ${near} type veth peer name ${far}`)
    ip.send(`address add 10.201.1.1/24 dev ${near}`)
    ip.send(`link set ${near} up`)
    ip.send(`link set ${far} up`)
    departure = setTimeout(() => ip.send(`link delete ${near}`), periodMs * CHURN_PRESENCE)
  }, periodMs)
  return {
    check: () => ip.check(),
    async stop() {
      clearInterval(arrivals)
      clearTimeout(departure)
      await ip.stop()
    },
  }
}
