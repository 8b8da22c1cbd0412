import type { IdentityStatus, ServicePhase, ServiceStatus } from '../../shared/protocol.ts'

const REASONS = {
  starting: 'Starting',
  needsLogin: 'NeedsLogin',
  ready: 'Ready',
  draining: 'Draining',
  standby: 'Standby',
  failed: 'NodeFailed',
} as const

export type StatusFields = Partial<Omit<ServiceStatus, 'identity'>> & { readonly identity?: Partial<IdentityStatus> }

/** What a worker would say of a service in this phase. */
export function serviceStatus(name: string, phase: ServicePhase, { identity, ...fields }: StatusFields = {}): ServiceStatus {
  return {
    name,
    phase,
    reason: REASONS[phase],
    revision: 1,
    specHash: 'h1',
    message: '',
    since: 1_000_000,
    identity: { dnsName: '', addresses: [], loginURL: '', nodeKey: '', udpPort: 0, ...identity },
    problems: [],
    counters: { requests: 0, errors: 0, bytesIn: 0, bytesOut: 0, openConnections: 0 },
    ...fields,
  }
}
