/**
 * What workers of the version before speak, in the shapes of this one: they are adopted, and keep serving until they are
 * replaced. Delete what is here with each rise of OLDEST_PROTOCOL_VERSION. Pure.
 *
 * Version 4 has the fields of `exposure.node` in `node`, and those of a status' `identity` in the status itself.
 */
import type { ServiceSpec } from './protocol.ts'

/** The first version that sets identity and service apart. */
const APART = 5

/** A spec as a worker of this version takes it. */
export function toWorker(version: number, spec: ServiceSpec): object {
  if (version >= APART) return spec
  const { exposure, ...rest } = spec
  return { ...rest, node: exposure.node }
}

/** A JSON value from a worker of any version that is adopted, in the shapes of this version; others are given back as they are. */
export function fromWorker(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromWorker)
  if (typeof value !== 'object' || value === null) return value
  if ('specHash' in value && !('identity' in value)) return identityApart(value)
  const { services, service, state } = value as { services?: unknown; service?: unknown; state?: unknown }
  return {
    ...value,
    ...(services !== undefined && { services: fromWorker(services) }),
    ...(service !== undefined && { service: fromWorker(service) }),
    ...(state !== undefined && { state: fromWorker(state) }),
  }
}

const IDENTITY = ['dnsName', 'addresses', 'loginURL', 'nodeKey', 'nodeKeyExpiry', 'udpPort']

function identityApart(status: object): object {
  const fields = Object.entries(status)
  const isIdentity = ([key]: [string, unknown]) => IDENTITY.includes(key)
  return {
    ...Object.fromEntries(fields.filter((field) => !isIdentity(field))),
    identity: Object.fromEntries(fields.filter(isIdentity)),
  }
}
