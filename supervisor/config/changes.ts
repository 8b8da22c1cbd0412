/** What changes from one configuration to the next, for the operator. Pure. */
import type { ReloadResult } from '../../shared/api.ts'
import type { ResolvedConfig, ResolvedService } from './parseConfig.ts'

/** Which settings a running worker has taken over for good: a change reaches it at its next start. */
export const WORKER_SETTINGS = [
  'startConcurrency',
  'gcPercent',
  'memoryLimitBytes',
  'ignoreInterfaces',
  'logUpload',
  'portMapping',
] as const
/** Which settings this process has taken over until its end. */
export const OWN_SETTINGS = [
  'prometheusAddr',
  'workerBinary',
  'sampleIntervalMs',
  'watchConfig',
  'upgradeWorkers',
  'keyAPIURL',
  'readyPercent',
  'readyTimeoutMs',
] as const

type Services = ReadonlyMap<string, ResolvedService>

/** Which services come, go and change. */
export function changedServices(
  before: Services,
  after: Services,
): Pick<ReloadResult, 'added' | 'removed' | 'changed' | 'unchanged'> {
  const kept = [...after.keys()].filter((name) => before.has(name))
  const changed = kept.filter((name) => before.get(name)?.spec.specHash !== after.get(name)?.spec.specHash)
  return {
    added: [...after.keys()].filter((name) => !before.has(name)),
    removed: [...before.keys()].filter((name) => !after.has(name)),
    changed,
    unchanged: kept.length - changed.length,
  }
}

/** Throws when a directory is another: with another state directory every node would come up as a new one. */
export function refuseOtherDirectories({ settings: before }: ResolvedConfig, { settings: after }: ResolvedConfig): void {
  for (const key of ['stateDir', 'runDir'] as const) {
    if (before[key] === after[key]) continue
    throw new Error(
      `${key} cannot change from ${before[key]} to ${after[key]} while services run: stop, move the directory, start`,
    )
  }
}

/** Settings that take effect later, and when. */
export function laterSettings(before: ResolvedConfig, after: ResolvedConfig): string[] {
  const changed = <K extends keyof ResolvedConfig['settings']>(keys: readonly K[]) =>
    keys.filter((key) => JSON.stringify(before.settings[key]) !== JSON.stringify(after.settings[key]))
  return [
    ...changed(WORKER_SETTINGS).map((key) => `${key}: takes effect in workers that start from now on`),
    ...changed(OWN_SETTINGS).map((key) => `${key}: takes effect when the supervisor is started again`),
  ]
}
