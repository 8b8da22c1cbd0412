/** The unit of the NixOS module under a real systemd: a missing key file, and a new package. */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Lab } from '../../demo/lab.ts'
import { buildGo } from '../../scripts/build.ts'
import { whyNoNix } from '../nix/evaluate.ts'
import { type Machine, whyNoSystemd } from './machine.ts'
import { bootWithProgram, placeOf, startPrivateLab } from './program.ts'
import { SERVICES, Trial, somewhere } from './trial.ts'
import { moduleUnit } from './units.ts'

const reason = (await whyNoSystemd()) ?? (await whyNoNix())
let machine: Machine
let lab: Lab

beforeAll(async () => {
  if (reason === undefined) [machine, lab] = await Promise.all([bootWithProgram(), startPrivateLab()])
})
afterAll(() => (reason === undefined ? Promise.all([machine.end(), lab.stop()]) : undefined))
beforeEach((context) => {
  if (reason !== undefined) context.skip(reason)
})

const settings = (more = '') => `
  prometheusAddr = null;
  defaults = { authKeyPath = "/etc/tsnsrv-sup/authkey"; loginServerUrl = "${somewhere.controlURL}"; listenAddr = ":80"; };
  services = lib.recursiveUpdate
    (lib.genAttrs [ ${SERVICES.map((name) => `"${name}"`).join(' ')} ] (_: { toURL = "${somewhere.upstream}"; plaintext = true; }))
    { ${more} };
`

it('a key file that is missing is the trouble of its service; once it is there, a restart is enough', async () => {
  const unit = await moduleUnit(settings(`${SERVICES[1]}.authKeyPath = "/etc/tsnsrv-sup/missing";`))
  const trial = new Trial('k', { title: 'module', unit, changes: {} }, machine, placeOf(lab))
  try {
    await trial.write()
    await machine.run('rm', '/etc/k/missing')
    await machine.run('systemctl', 'daemon-reload')
    await machine.run('systemctl', 'start', 'k')
    await trial.until('start', async () => {
      const [first, second] = (await trial.status()).services
      return first?.ready === true && second?.reason === 'CredentialUnavailable' ? '' : JSON.stringify([first, second])
    })
    const { services } = await trial.status()
    expect(services[1]?.message).toMatch(/the auth key is missing: .*LoadCredential= names, and restart the unit/)
    await trial.write()
    await machine.run('systemctl', 'restart', 'k')
    await trial.comesUp('restart')
    expect(trial.problem).toBe('')
    await machine.run('systemctl', 'stop', 'k')
    await trial.goesAway('stop')
    expect(trial.problem).toBe('')
  } finally {
    trial.end()
  }
})

it('a new package replaces the workers by itself', async () => {
  const unit = await moduleUnit(settings())
  const before = '/opt/before/tsnsrv-worker'
  const changes = { Environment: `TSNSRV_SUP_WORKER_BINARY=${before}` }
  const old = new Trial('p', { title: 'module, package before', unit, changes }, machine, placeOf(lab))
  const directory = await mkdtemp(join(tmpdir(), 'worker-'))
  try {
    await buildGo(directory, ['tsnsrv-worker'], { version: '0.0.1' })
    await machine.run('mkdir', '/opt/before')
    await cp(join(directory, 'tsnsrv-worker'), machine.path(before))
    await old.write()
    await machine.run('systemctl', 'daemon-reload')
    await machine.run('systemctl', 'start', 'p')
    await old.comesUp('start')
    expect(old.problem).toBe('')
    expect((await old.status()).shards.map(({ version }) => version)).toEqual(['0.0.1'])

    // As switch-to-configuration does it with a unit that has changed.
    const now = new Trial('p', { title: 'module', unit, changes: {} }, machine, placeOf(lab))
    await now.write()
    now.end()
    await machine.run('systemctl', 'daemon-reload')
    await machine.run('systemctl', 'restart', 'p')
    await old.until('upgrade', async () => {
      const { shards, services, rebalancing } = await old.status()
      const isDone = shards.length === 1 && shards[0]?.version !== '0.0.1' && rebalancing.upgrade === null
      return isDone && services.every(({ ready }) => ready) ? '' : JSON.stringify({ shards, rebalancing })
    })
    await machine.run('systemctl', 'stop', 'p')
    await old.goesAway('stop')
    expect(old.problem).toBe('')
  } finally {
    old.end()
    await rm(directory, { recursive: true })
  }
})
