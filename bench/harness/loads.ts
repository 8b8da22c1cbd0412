/** What each load asks of which services. Pure. */
import type { LoadName } from './results.ts'
import type { Load } from './world/client.ts'

/** As many services as take part in a full load, which is that of the published comparison. */
export const FULL_LOAD_SERVICES = 12

/** How a load asks; null: not at all. */
export const SHAPES = {
  idle: null,
  light: { mode: 'rate', perSecondEach: 5, connections: 1 },
  moderate: { mode: 'rate', perSecondEach: 10, connections: 2 },
  saturated: { mode: 'closed', connections: 32, fresh: false },
  connecting: { mode: 'closed', connections: 32, fresh: true },
} as const satisfies Readonly<Record<LoadName, Load | null>>

/**
 * Whether it goes on for a while before it is measured, as one that takes all there is on connections that stay: for seconds,
 * paths, windows and collectors still settle, and a request takes a tenth more of most subjects.
 */
export function isWarmedUp(load: LoadName): boolean {
  const shape = SHAPES[load]
  return shape?.mode === 'closed' && !shape.fresh
}

/** Whom it asks: light load a tenth of the services, spread over all shards, and full load at most FULL_LOAD_SERVICES. */
export function targetsOf(load: LoadName, services: readonly string[]): readonly string[] {
  if (load === 'light') return services.filter((_, i) => i % 10 === 0)
  return SHAPES[load]?.mode === 'closed' ? services.slice(0, FULL_LOAD_SERVICES) : services
}
