/** What a service manager (systemd) is told of the services: whether they count as started, and one line on how they are. Pure. */
import type { Status } from '../../shared/api.ts'

/** So many services are named in the line, at most. */
const MOST_NAMED = 3

/**
 * Whether so many per cent of the services are ready. A service that needs a login is not waited for: it waits for a person. Before
 * the first configuration is in force, none is.
 */
export function isStarted(
  { configGeneration, services }: Pick<Status, 'configGeneration' | 'services'>,
  percent: number,
): boolean {
  if (configGeneration === 0) return false
  const awaited = services.filter(({ phase }) => phase !== 'needsLogin')
  return awaited.filter(({ ready }) => ready).length * 100 >= awaited.length * percent
}

/** One line for `systemctl status`. */
export function describeServices(
  status: Pick<Status, 'phase' | 'configGeneration' | 'configError' | 'services' | 'shards'>,
): string {
  const { phase, configGeneration, configError, services, shards } = status
  if (phase === 'stopping') return 'Stopping'
  if (configGeneration === 0) return 'Starting'
  const missing = services.filter(({ ready }) => !ready).map(({ name }) => name)
  const more = missing.length > MOST_NAMED ? ` and ${missing.length - MOST_NAMED} more` : ''
  return [
    `${services.length - missing.length} of ${services.length} services ready in ${shards.length} shards`,
    ...(missing.length > 0 ? [`not ready: ${missing.slice(0, MOST_NAMED).join(', ')}${more}`] : []),
    ...(configError === '' ? [] : ['the last reload was refused']),
  ].join('; ')
}
