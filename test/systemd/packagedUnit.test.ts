/** The units that packages install, under a real systemd and under load: whatever ends the supervisor, its workers answer on. */
import { copyFile, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Lab } from '../../demo/lab.ts'
import {
  CONFIG,
  comesBack,
  configText,
  notReady,
  SERVICES,
  SOME_REQUESTS,
  statusOf,
  underLoad,
  UNIT,
  until,
  workersOf,
} from './installed.ts'
import { type Machine, whyNoSystemd } from './machine.ts'
import { bootWithProgram, startPrivateLab } from './program.ts'
import { KEY } from './trial.ts'

const UNITS = join(import.meta.dirname, '..', '..', 'packaging', 'systemd')

const noSystemd = await whyNoSystemd()
let machine: Machine
let lab: Lab

beforeAll(async () => {
  if (noSystemd !== undefined) return
  ;[machine, lab] = await Promise.all([bootWithProgram(), startPrivateLab()])
  for (const name of await readdir(UNITS)) await copyFile(join(UNITS, name), machine.path(`/usr/lib/systemd/system/${name}`))
  // A minimal Debian has no list of the users that systemd makes up.
  await machine.run('find', '/usr/lib', '-name', 'libnss_systemd*', '-delete')
  await machine.run('systemctl', 'daemon-reload')
})
afterAll(() => (noSystemd === undefined ? Promise.all([machine.end(), lab.stop()]) : undefined))
beforeEach((context) => {
  if (noSystemd !== undefined) context.skip(noSystemd)
})

const systemctl = (...args: string[]) => machine.execute('systemctl', ...args)
const show = async (property: string, unit = UNIT) =>
  (await machine.run('systemctl', 'show', '--value', `--property=${property}`, unit)).trim()

const configure = (services = SERVICES, supervisor = {}) => machine.write(CONFIG, configText(lab, services, supervisor))
const status = () => statusOf(machine)

it('starts without a key and without a home directory, and counts as started after a while whatever the services do', async () => {
  await configure(SERVICES, { readyTimeout: '3s' })
  expect(await systemctl('start', UNIT)).toMatchObject({ exitCode: 0, stderr: '' })
  // The lab lets nobody in without a key.
  expect(notReady(await status())).toEqual(SERVICES)
  await until('a line of status', async () => {
    const line = await show('StatusText')
    return line === '0 of 3 services ready in 2 shards; not ready: alpha, beta, gamma' ? '' : line
  })
  await machine.run('systemctl', 'stop', UNIT)
})

it('counts as started when the services are ready', async () => {
  await configure(SERVICES)
  await machine.write('/etc/tsnsrv-sup/authkey', `${KEY}\n`)
  expect(await systemctl('start', UNIT)).toMatchObject({ exitCode: 0 })
  expect(notReady(await status())).toEqual([])
  await until('a line of status', async () =>
    (await show('StatusText')) === '3 of 3 services ready in 2 shards' ? '' : await show('StatusText'),
  )
  expect(await systemctl('is-active', UNIT, `${UNIT}-workers`)).toMatchObject({ stdout: 'active\nactive' })
})

it.each([
  ['a restart', ['restart', UNIT]],
  ['SIGKILL', ['kill', '--kill-whom=main', '--signal=KILL', UNIT]],
  ['SIGSEGV', ['kill', '--kill-whom=main', '--signal=SEGV', UNIT]],
])('answers all requests through %s', async (_what, command) => {
  const before = await status()
  await underLoad(lab, async () => {
    await machine.run('systemctl', ...command)
    await comesBack(machine, before)
  })
})

it('answers all requests through a supervisor that hangs and is killed by the watchdog', async () => {
  // A minute is long for a test.
  await machine.write(`/run/systemd/system/${UNIT}.service.d/watchdog.conf`, '[Service]\nWatchdogSec=2\n')
  await machine.run('systemctl', 'daemon-reload')
  await machine.run('systemctl', 'restart', UNIT)
  const before = await status()
  await underLoad(lab, async () => {
    await machine.run('systemctl', 'kill', '--kill-whom=main', '--signal=STOP', UNIT)
    await comesBack(machine, before)
  })
  expect(Number(await show('NRestarts'))).toBeGreaterThan(0)
})

it('leaves workers a /tmp in which they can write', async () => {
  const [worker] = workersOf(await status())
  const inside = await machine.execute('nsenter', '--target', String(worker), '--mount', '--', 'mktemp', '-p', '/tmp')
  expect(inside).toMatchObject({ exitCode: 0, stderr: '' })
})

it('takes over a changed file at a reload, which fails when the file is refused', async () => {
  const before = await status()
  await underLoad(lab, async () => {
    await configure([...SERVICES, 'delta'])
    expect(await systemctl('reload', UNIT)).toMatchObject({ exitCode: 0 })
    await until('delta', async () => notReady(await status()).join())
    await machine.write(CONFIG, 'services: 1\n')
    expect((await systemctl('reload', UNIT)).exitCode).not.toBe(0)
    await until('a line of status', async () =>
      (await show('StatusText')).endsWith('the last reload was refused') ? '' : 'none',
    )
    expect(await show('ActiveState')).toBe('active')
    await configure(SERVICES)
    expect(await systemctl('reload', UNIT)).toMatchObject({ exitCode: 0 })
  })
  expect(workersOf(await status())).toEqual(workersOf(before))
})

it('answers all requests while the unit has failed, and when it is started again', async () => {
  const before = await status()
  await underLoad(lab, async (load) => {
    await machine.write(CONFIG, 'services: 1\n')
    expect((await systemctl('restart', UNIT)).exitCode).not.toBe(0)
    expect(await show('ActiveState')).toBe('failed')
    await load.answers(SOME_REQUESTS)
    await configure(SERVICES)
    expect(await systemctl('start', UNIT)).toMatchObject({ exitCode: 0 })
    await comesBack(machine, before)
  })
})

it('ends all workers at a stop, also when the unit has failed, and leaves identities alone', async () => {
  const addresses = async () => (await status()).services.map(({ addresses }) => addresses)
  const identities = await addresses()
  for (const prepare of [
    () => Promise.resolve(),
    async () => {
      await machine.write(CONFIG, 'services: 1\n')
      expect((await systemctl('restart', UNIT)).exitCode).not.toBe(0)
      expect(machine.processesOf(UNIT)).toBe(2)
      expect(await systemctl('is-active', UNIT)).toMatchObject({ stdout: 'failed' })
    },
  ]) {
    await configure(SERVICES)
    await machine.run('systemctl', 'start', UNIT)
    expect(await addresses()).toEqual(identities)
    await prepare()
    expect(await systemctl('stop', UNIT)).toMatchObject({ exitCode: 0 })
    await until('the end of all', async () => {
      const left = `${machine.processesOf(UNIT)} processes, workers unit ${await show('ActiveState', `${UNIT}-workers`)}`
      return left === '0 processes, workers unit inactive' ? '' : left
    })
    expect((await machine.execute('ls', '/run/tsnsrv-sup')).exitCode).not.toBe(0)
  }
})

it('runs beside another instance', async () => {
  await configure(SERVICES)
  const text = await readFile(machine.path(CONFIG), 'utf8')
  await machine.write('/etc/tsnsrv-sup/two.yaml', text.replaceAll(/(alpha|beta|gamma)/g, '$1-two'))
  await machine.write('/etc/tsnsrv-sup/two.authkey', `${KEY}\n`)
  const both = [UNIT, `${UNIT}@two`]
  await machine.run('systemctl', 'start', ...both)
  const ask = () => statusOf(machine, '--state-dir', '/var/lib/tsnsrv-sup-two')
  const before = await ask()
  expect(before.services.map(({ name, ready }) => [name, ready])).toEqual(SERVICES.map((name) => [`${name}-two`, true]))
  await machine.run('systemctl', 'restart', `${UNIT}@two`)
  expect(workersOf(await ask())).toEqual(workersOf(before))
  expect(notReady(await status())).toEqual([])
  await machine.run('systemctl', 'stop', ...both)
  await until('the end of both', () =>
    Promise.resolve(both.some((unit) => machine.processesOf(unit) > 0) ? 'processes are left' : ''),
  )
})

it('is exposed no more than documented', async () => {
  const { stdout } = await machine.execute(
    'systemd-analyze',
    'security',
    '--offline=true',
    `/usr/lib/systemd/system/${UNIT}.service`,
  )
  const exposure = /exposure level for \S+: ([\d.]+)/.exec(stdout)?.[1]
  expect(Number(exposure)).toBeLessThanOrEqual(1.6)
})
