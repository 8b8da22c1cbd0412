/** What tests of an installed program have in common: three services behind the unit tsnsrv-sup, and a load on them. */
import { setTimeout as delay } from 'node:timers/promises'
import { stringify } from 'yaml'
import { expect } from 'vitest'
import type { Lab } from '../../demo/lab.ts'
import type { Status } from '../../shared/api.ts'
import { type Load, startLoad } from '../e2e/load.ts'
import type { Machine } from './machine.ts'

export const UNIT = 'tsnsrv-sup'
export const CONFIG = '/etc/tsnsrv-sup/services.yaml'
export const SERVICES = ['alpha', 'beta', 'gamma']
/** Longer than a supervisor takes to come back. */
export const SOME_REQUESTS = 120
const PATIENCE_MS = 30_000

export function configText(
  lab: Lab,
  services: readonly string[] = SERVICES,
  supervisor: Readonly<Record<string, unknown>> = {},
): string {
  return stringify({
    prometheusAddr: 'off',
    supervisor: { controlURL: lab.controlURL, shardSize: 2, ...supervisor },
    defaults: { plaintext: true, listenAddr: ':80' },
    services: services.map((name) => ({ name, upstream: lab.upstreams[0] })),
  })
}

export async function statusOf(machine: Machine, ...flags: string[]): Promise<Status> {
  return JSON.parse(await machine.run('tsnsrv-sup', 'status', '--json', ...flags)) as Status
}
export const workersOf = ({ shards }: Status) => shards.map(({ workerPid }) => workerPid)
export const notReady = ({ services }: Status) => services.filter(({ ready }) => !ready).map(({ name }) => name)

/** Looks again and again until `look` resolves with nothing. */
export async function until(what: string, look: () => Promise<string>): Promise<void> {
  let seen = ''
  const deadline = Date.now() + PATIENCE_MS
  while (Date.now() < deadline) {
    seen = await look().catch((error: unknown) => String(error))
    if (seen === '') return
    await delay(50)
  }
  throw new Error(`${what}: ${seen}`)
}

/** Waits until another supervisor than `before` has the same workers, all of them ready. */
export async function comesBack(machine: Machine, before: Status): Promise<void> {
  await until('another supervisor', async () => {
    const now = await statusOf(machine)
    return now.pid === before.pid || notReady(now).length > 0 ? JSON.stringify(now) : ''
  })
  expect(workersOf(await statusOf(machine))).toEqual(workersOf(before))
}

/** Does something while 60 requests a second are sent, and for a while before and after. None of them may fail. */
export async function underLoad(lab: Lab, work: (load: Load) => Promise<void>): Promise<void> {
  const load = startLoad(lab, SERVICES, 60)
  try {
    await load.answers(SOME_REQUESTS)
    await work(load)
    await load.answers(SOME_REQUESTS)
  } finally {
    const { ok, failed } = await load.stop()
    expect.soft(failed).toEqual([])
    expect.soft(ok).toBeGreaterThan(2 * SOME_REQUESTS)
  }
}
