/**
 * Supervisor and workers under a real systemd, in the units of packages and of the NixOS module, with all lines of hardening and
 * without each of them: a reload brings a service more; whatever ends the supervisor, the same workers keep serving under the next
 * one; and a stop leaves none.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { whyNoNix } from '../nix/evaluate.ts'
import { type Machine, whyNoSystemd } from './machine.ts'
import { bootWithProgram, placeOf, startPrivateLab } from './program.ts'
import { SERVICES, Trial, type Variant, somewhere } from './trial.ts'
import { type Unit, moduleUnit, packagedUnit } from './units.ts'

/** So many units run side by side: each has a supervisor, and a worker with two nodes. */
const BATCH = 13

const MODULE_SETTINGS = `
  prometheusAddr = null;
  defaults = { authKeyPath = "/etc/tsnsrv-sup/authkey"; loginServerUrl = "${somewhere.controlURL}"; listenAddr = ":80"; };
  services = lib.genAttrs [ ${SERVICES.map((name) => `"${name}"`).join(' ')} ] (_: { toURL = "${somewhere.upstream}"; plaintext = true; });
`

const noSystemd = await whyNoSystemd()
const noNix = await whyNoNix()
const variants = noSystemd === undefined ? await allVariants() : []
const outcomes = new Map<string, string>()
let machine: Machine | undefined

async function allVariants(): Promise<Variant[]> {
  const variantsOf = (title: string, unit: Unit) => [
    { title, unit, changes: {} },
    ...sandboxOf(unit).map((line) => ({ title: `${title}, ${line} off`, unit, changes: { [line]: null } })),
  ]
  const packaged = variantsOf('package', await packagedUnit())
  if (noNix !== undefined) return packaged
  const module = await moduleUnit(MODULE_SETTINGS)
  return [
    ...packaged,
    ...variantsOf('module', module),
    // The module had this line once, and an operator may set it: together with ProtectProc it hides the workers in /proc.
    { title: 'module, PrivateUsers on', unit: module, changes: { PrivateUsers: 'true' } },
  ]
}

/**
 * The lines of hardening, each of which an operator may take out. Not SystemCallErrorNumber: without it the filter kills what it
 * should refuse.
 */
function sandboxOf({ service }: Unit): string[] {
  const sandbox = /^(Ambient|Capability|Device|Lock|NoNew|Private|Protect|Remove|Restrict|SystemCall(?!ErrorNumber)|UMask)/
  return Object.keys(service).filter((line) => sandbox.test(line))
}

async function runBatch(batch: readonly Variant[], first: number, where: Machine): Promise<void> {
  const lab = await startPrivateLab()
  const trials = batch.map((variant, index) => new Trial(`u${first + index}`, variant, where, placeOf(lab)))
  const step = async (command: readonly string[], wait: (trial: Trial) => Promise<void>) => {
    const going = trials.filter(({ problem }) => problem === '')
    if (going.length === 0) return
    // What comes of it is seen at each of them.
    await where.execute('systemctl', ...command, ...going.map((trial) => trial.name))
    await Promise.all(going.map(wait))
  }
  try {
    await Promise.all(trials.map((trial) => trial.write()))
    await where.run('systemctl', 'daemon-reload')
    await step(['start'], (trial) => trial.comesUp('start'))
    await Promise.all(trials.map((trial) => trial.addService()))
    await step(['reload'], (trial) => trial.staysUp('reload with a service more'))
    await step(['restart'], (trial) => trial.comesBack('restart'))
    await step(['kill', '--kill-whom=main', '--signal=KILL'], (trial) => trial.comesBack('SIGKILL'))
    await step(['stop'], (trial) => trial.goesAway('stop'))
    await step(['start'], (trial) => trial.comesUp('start again'))
    await step(['stop'], (trial) => trial.goesAway('stop again'))
  } finally {
    await where.run('systemctl', 'kill', '--signal=KILL', ...trials.map(({ name }) => name)).catch(() => undefined)
    for (const trial of trials) trial.end()
    await lab.stop()
  }
  for (const [index, { title }] of batch.entries()) outcomes.set(title, trials[index]?.problem ?? '')
}

beforeAll(async () => {
  if (noSystemd !== undefined) return
  machine = await bootWithProgram()
  for (let first = 0; first < variants.length; first += BATCH) {
    await runBatch(variants.slice(first, first + BATCH), first, machine)
  }
}, 400_000)

afterAll(() => machine?.end())

describe('takes a service more by a reload, keeps its workers over a restart and SIGKILL, and ends them at a stop: the unit of', () => {
  it.each(variants.map(({ title }) => title))('%s', (title) => {
    expect(outcomes.get(title)).toBe('')
  })

  const notTried = noSystemd ?? noNix
  if (notTried !== undefined) it(noSystemd === undefined ? 'module' : 'package and module', (context) => context.skip(notTried))
})
