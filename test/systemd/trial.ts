/** One unit under a systemd, through all that may end its supervisor. */
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { parse, stringify } from 'yaml'
import type { Status } from '../../shared/api.ts'
import { createAdminClient } from '../../supervisor/effects/adminClient.ts'
import type { Machine } from './machine.ts'
import { type Lines, type Unit, renamed, unitText } from './units.ts'

/** A unit of the project's with some of its lines changed. */
export interface Variant {
  readonly title: string
  readonly unit: Unit
  readonly changes: Lines
}

/** Where the lab is, and what stands for it in the text of a unit or a configuration until it is known. */
export interface Place {
  readonly controlURL: string
  readonly upstream: string
}
export const somewhere: Place = { controlURL: 'http://control.invalid', upstream: 'http://upstream.invalid' }

/** Two services, called after the unit. */
export const SERVICES = ['tsnsrv-sup-a', 'tsnsrv-sup-b'] as const

/** Within this time two nodes are up, also where a dozen others start. */
const PATIENCE_MS = 30_000

export class Trial {
  readonly name: string
  readonly #variant: Variant
  readonly #machine: Machine
  readonly #place: Place
  readonly #client
  /** What it was like at the end of the last step. */
  #last: Status | undefined
  #services: number = SERVICES.length
  /** What went wrong, and in which step; empty while nothing has. */
  problem = ''

  constructor(name: string, variant: Variant, machine: Machine, place: Place) {
    this.name = name
    this.#variant = variant
    this.#machine = machine
    this.#place = place
    const runDir = variant.unit.service.RuntimeDirectory ? `/run/private/${name}` : `/var/lib/private/${name}/.supervisor/run`
    this.#client = createAdminClient(machine.path(runDir))
  }

  async write(): Promise<void> {
    const { unit, changes } = this.#variant
    const finished = (text: string) =>
      renamed(text, this.name)
        .replaceAll(somewhere.controlURL, this.#place.controlURL)
        .replaceAll(somewhere.upstream, this.#place.upstream)
    await this.#machine.write(`/etc/systemd/system/${this.name}.service`, finished(unitText(unit, changes, this.name)))
    await this.#machine.write(renamed(unit.configPath, this.name), finished(unit.configText ?? configText()))
    for (const file of unit.keyFiles) await this.#machine.write(renamed(file, this.name), `${KEY}\n`)
  }

  /** Waits until all services are ready under another supervisor than in the step before. */
  async comesUp(step: string): Promise<void> {
    const before = this.#last?.pid
    await this.untilReady(step, ({ pid }) => pid !== before)
  }

  /** Writes a service more into the configuration, as the first but for its name; for a reload to take over. */
  async addService(): Promise<void> {
    const path = renamed(this.#variant.unit.configPath, this.name)
    const config = parse(await readFile(this.#machine.path(path), 'utf8')) as { services: object[] }
    const added = { ...config.services[0], name: `${this.name}-c` }
    await this.#machine.write(path, stringify({ ...config, services: [...config.services, added] }))
    this.#services += 1
  }

  /** Waits until all services are ready under the supervisor and the workers of the step before. */
  async staysUp(step: string): Promise<void> {
    const before = this.#last
    await this.untilReady(step, ({ pid }) => pid === before?.pid)
    const [was, is] = [workersOf(before), workersOf(this.#last)]
    if (this.problem === '' && was !== is) this.problem = `${step}: worker ${was} was replaced by ${is}`
  }

  private async untilReady(step: string, isIt: (status: Status) => boolean): Promise<void> {
    await this.until(step, async () => {
      const status = await this.#client.status()
      if (!isIt(status) || status.services.length !== this.#services) return JSON.stringify(status)
      if (status.services.some(({ ready }) => !ready)) return JSON.stringify(status)
      this.#last = status
      return ''
    })
  }

  /** The same, and that the workers are those of the step before, and no others are there. */
  async comesBack(step: string): Promise<void> {
    const before = workersOf(this.#last)
    await this.comesUp(step)
    if (this.problem !== '') return
    const after = workersOf(this.#last)
    if (after !== before) {
      this.problem = `${step}: worker ${before} was replaced by ${after}`
      return
    }
    // For a moment there may be one that is only asked for its version.
    await this.until(step, () => {
      const processes = this.#machine.processesOf(this.name)
      return Promise.resolve(processes === 2 ? '' : `${String(processes)} processes instead of a supervisor and a worker`)
    })
  }

  /** Waits until no process is left. */
  goesAway(step: string): Promise<void> {
    return this.until(step, () => {
      const left = this.#machine.processesOf(this.name)
      return Promise.resolve(left === 0 ? '' : `${left} processes are left`)
    })
  }

  status(): Promise<Status> {
    return this.#client.status()
  }

  /** Lets go of it. */
  end(): void {
    this.#client.close()
  }

  /** Looks again and again until it says nothing any more; what it said last is the problem if that takes too long. */
  async until(step: string, look: () => Promise<string>): Promise<void> {
    let seen = ''
    const deadline = Date.now() + PATIENCE_MS
    while (Date.now() < deadline) {
      seen = await look().catch((error: unknown) => String(error))
      if (seen === '') return
      await delay(100)
    }
    const log = this.#machine.path(`/var/lib/private/${this.name}/.supervisor/logs/supervisor.log`)
    const lines = (await readFile(log, 'utf8').catch(() => '')).trimEnd().split('\n').slice(-6)
    const properties = ['ActiveState', 'Result', 'ExecMainStatus', 'NRestarts'].map((name) => `--property=${name}`)
    const state = await this.#machine.run('systemctl', 'show', ...properties, this.name)
    this.problem = [`${step}: ${seen}`, state, ...lines].join('\n')
  }
}

const workersOf = (status: Status | undefined): string => (status?.shards ?? []).map(({ workerPid }) => workerPid).join(' ')

/** The auth key that the lab asks for. */
export const KEY = 'tskey-lab-secret'

function configText(): string {
  return stringify({
    prometheusAddr: 'off',
    supervisor: { controlURL: somewhere.controlURL },
    defaults: { plaintext: true, listenAddr: ':80' },
    services: SERVICES.map((name) => ({ name, upstream: somewhere.upstream })),
  })
}
