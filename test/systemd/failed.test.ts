/** A unit that has failed, under a real systemd: what root can do about the workers that it has left. */
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Lab } from '../../demo/lab.ts'
import { type Machine, whyNoSystemd } from './machine.ts'
import { bootWithProgram, placeOf, startPrivateLab } from './program.ts'
import { Trial } from './trial.ts'
import { packagedUnit } from './units.ts'

const noSystemd = await whyNoSystemd()
let machine: Machine
let lab: Lab

beforeAll(async () => {
  if (noSystemd === undefined) [machine, lab] = await Promise.all([bootWithProgram(), startPrivateLab()])
})
afterAll(() => (noSystemd === undefined ? Promise.all([machine.end(), lab.stop()]) : undefined))

it('a refused configuration leaves workers that root sees, and ends by a command; then the unit starts as ever', async (context) => {
  if (noSystemd !== undefined) context.skip(noSystemd)
  const unit = await packagedUnit()
  const trial = new Trial('w', { title: 'package', unit, changes: {} }, machine, placeOf(lab))
  const cli = (...args: string[]) => machine.execute('tsnsrv-sup', ...args, '--state-dir', '/var/lib/w')
  try {
    await trial.write()
    await machine.run('systemctl', 'start', 'w')
    await trial.comesUp('start')
    await machine.write('/etc/w/services.yaml', 'services: 1\n')
    expect((await machine.execute('systemctl', 'restart', 'w')).exitCode).not.toBe(0)
    await trial.until('failed', async () => {
      const state = await machine.execute('systemctl', 'is-failed', 'w')
      return state.stdout === 'failed' ? '' : state.stdout
    })
    await machine.run('systemctl', 'stop', 'w')
    expect(machine.processesOf('w')).toBe(1)

    const status = await cli('status')
    expect(status.exitCode).toBe(3)
    expect(status.stdout).toMatch(/^w-a +1 +\d+ +ready/m)
    expect(status.stderr).toContain('serves 2 services without one')
    const stopped = await cli('stop', '--workers')
    expect(stopped).toMatchObject({ exitCode: 0, stderr: '' })
    expect(stopped.stdout).toMatch(/^Ended worker shard-1-\S+ \(pid \d+\) with w-a, w-b\.$/)
    await trial.goesAway('stop --workers')

    // Root has had the lock, and the unit's user has it now.
    await trial.write()
    await machine.run('systemctl', 'start', 'w')
    await trial.comesUp('start again')
    await machine.run('systemctl', 'stop', 'w')
    await trial.goesAway('stop')
    expect(trial.problem).toBe('')
  } finally {
    trial.end()
  }
})
