/**
 * What a change of a service's spec disturbs. The worker decides for itself what it touches (worker/internal/service); this
 * says it beforehand. Both are held to one table: shared/fixtures/disturbances.json. Pure.
 */
import type { Disturbance } from '../../shared/api.ts'
import type { ListenSpec, ServiceSpec } from '../../shared/protocol.ts'

type Spec = Pick<ServiceSpec, 'exposure' | 'listeners' | 'proxy' | 'limits' | 'tcpAllow'>

/** How much a change disturbs, and the names of what it changes, which hold no secret as values may. */
export interface SpecChange {
  readonly disturbs: Disturbance
  /** Keys of node, proxy and limits, and listeners as in "https :443". */
  readonly fields: string[]
}

/** What is different between two specs of one service; null when nothing is. */
export function changeOfSpec(before: Spec, after: Spec): SpecChange | null {
  const node = changedKeys(before.exposure.node, after.exposure.node)
  const listeners = changedListeners(before.listeners, after.listeners)
  const inPlace = [
    ...changedKeys(before.proxy, after.proxy),
    ...changedKeys(before.limits, after.limits),
    ...changedKeys({ tcpAllow: before.tcpAllow }, { tcpAllow: after.tcpAllow }),
  ]
  const fields = [...node, ...listeners, ...inPlace]
  if (fields.length === 0) return null
  if (node.length > 0) return { disturbs: isAnother(before, node) ? 'identity' : 'node', fields }
  return { disturbs: listeners.length > 0 ? 'listener' : 'proxy', fields }
}

/** Whether the node that starts is a new one for the control server. An ephemeral one logs out when it ends. */
function isAnother({ exposure: { node } }: Spec, changed: readonly string[]): boolean {
  return node.ephemeral || changed.includes('stateDir') || changed.includes('controlURL')
}

function changedKeys(before: object = {}, after: object = {}): string[] {
  const [old, next] = [new Map(Object.entries(before)), new Map(Object.entries(after))]
  return [...new Set([...old.keys(), ...next.keys()])].filter((key) => !isSame(old.get(key), next.get(key)))
}

function changedListeners(before: readonly ListenSpec[], after: readonly ListenSpec[]): string[] {
  const lacking = (some: readonly ListenSpec[], others: readonly ListenSpec[]) =>
    some
      .filter((listener) => !others.some((other) => isSame(listener, other)))
      .map(({ scheme, address }) => `${scheme} ${address}`)
  return [...new Set([...lacking(before, after), ...lacking(after, before)])]
}

/** Specs are always built in one order (config/resolveService.ts), so their texts are compared. */
const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
