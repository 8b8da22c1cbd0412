/** A machine on which the built program is installed where the units look for it. */
import { join } from 'node:path'
import { type Lab, startLab } from '../../demo/lab.ts'
import { Machine } from './machine.ts'
import { KEY, type Place } from './trial.ts'

const root = join(import.meta.dirname, '..', '..')
const PROGRAM = '/opt/tsnsrv-sup'

export async function bootWithProgram(): Promise<Machine> {
  const machine = await Machine.boot({
    [`${PROGRAM}/dist`]: join(root, 'dist'),
    [`${PROGRAM}/bin`]: join(root, 'bin'),
    [`${PROGRAM}/package.json`]: join(root, 'package.json'),
    '/usr/local/bin/node': process.execPath,
  })
  for (const path of ['/usr/local/bin/tsnsrv-sup', '/nix/store/tsnsrv-sup/bin/tsnsrv-sup']) {
    await machine.link(path, `${PROGRAM}/dist/supervisor/cli/main.js`)
  }
  // That NixOS makes for the module.
  await machine.run('groupadd', '--system', 'tsnsrv')
  return machine
}

/** A tailnet that nodes join with KEY only. */
export const startPrivateLab = (): Promise<Lab> =>
  startLab({ binary: join(root, 'bin', 'tsnsrv-lab'), upstreams: 1, flags: ['--auth-key', KEY] })

export const placeOf = ({ controlURL, upstreams }: Lab): Place => ({ controlURL, upstream: upstreams[0] ?? '' })
