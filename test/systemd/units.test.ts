/**
 * Supervisor and workers under a real systemd, in the units that the project tells people to use, with each line of hardening on and
 * off: a reload brings a service more; whatever ends the supervisor, the same workers serve on under the next one; and a stop leaves
 * none.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { whyNoNix } from '../nix/evaluate.ts'
import { type Machine, whyNoSystemd } from './machine.ts'
import { bootWithProgram, placeOf, startPrivateLab } from './program.ts'
import { SERVICES, Trial, type Variant, somewhere } from './trial.ts'
import { type Lines, type Unit, moduleUnit, readmeUnit } from './units.ts'

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
  const readme = await readmeUnit()
  if (noNix !== undefined) return [{ title: 'README', unit: readme, changes: {} }]
  const module = await moduleUnit(MODULE_SETTINGS)
  const hardening = hardeningOf(module, readme)
  return [
    { title: 'README', unit: readme, changes: {} },
    { title: 'module', unit: module, changes: {} },
    // The module had this line once, and an operator may set it: together with ProtectProc it hides the workers in /proc.
    { title: 'module, PrivateUsers on', unit: module, changes: { PrivateUsers: 'true' } },
    ...Object.keys(hardening).map((line) => ({ title: `module, ${line} off`, unit: module, changes: { [line]: null } })),
    ...Object.keys(hardening).map((line) => {
      return { title: `README, ${line} on`, unit: readme, changes: { [line]: hardening[line] ?? null } }
    }),
  ]
}

/** The lines that the module has and README has not, but for those that say how it is started and for whom. */
function hardeningOf(module: Unit, readme: Unit): Lines {
  const others = new Set([...Object.keys(readme.service), 'RestartSec', 'SupplementaryGroups', 'SetCredential'])
  return Object.fromEntries(Object.entries(module.service).filter(([line]) => !others.has(line)))
}

async function runBatch(batch: readonly Variant[], first: number, where: Machine): Promise<void> {
  const lab = await startPrivateLab()
  const trials = batch.map((variant, index) => new Trial(`u${first + index}`, variant, where, placeOf(lab)))
  const step = async (command: readonly string[], wait: (trial: Trial) => Promise<void>) => {
    const going = trials.filter(({ problem }) => problem === '')
    if (going.length === 0) return
    await where.run('systemctl', ...command, ...going.map((trial) => trial.name))
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
  if (notTried !== undefined) it(noSystemd === undefined ? 'module' : 'README and module', (context) => context.skip(notTried))
})
