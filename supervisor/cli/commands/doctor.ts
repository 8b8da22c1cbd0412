import type { Command } from 'commander'
import { inWords } from '../../../shared/systemErrors.ts'
import type { ResolvedConfig } from '../../config/parseConfig.ts'
import { loadConfig } from '../../effects/configFile.ts'
import { freeSpace, nodeDirectoriesBelow, seeControl, seeDirectory, upstreamProblem } from '../../effects/doctorFacts.ts'
import { openFileLimit, openFilesProblem } from '../../effects/openFiles.ts'
import { NoSupervisorError } from '../../effects/adminClient.ts'
import { findWorkerBinary, readWorkerVersion } from '../../effects/workerBinary.ts'
import type { Status, Unsupervised } from '../../../shared/api.ts'
import { diagnose, type Facts, type Finding } from '../../operate/doctor.ts'
import { clientCommand, directoriesOf, withAdminClient } from '../clientCommand.ts'
import { count } from '../format.ts'
import { type Colors, colorsFor, plain, type Streams } from '../terminal.ts'

/** Something is wrong that nobody but the operator can mend. */
class FindingsError extends Error {
  override readonly name = 'FindingsError'
}

/** `tsnsrv-sup doctor`: one finding a line, with why and what mends it. */
export function doctorCommand({ stdout }: Streams): Command {
  return clientCommand('doctor', 'Look for what is wrong, and say what mends it.')
    .option('--json', 'print the findings as JSON')
    .addHelpText(
      'after',
      `
It looks at the running supervisor, the configuration, directories, disk, upstreams, control server and clock, and changes nothing.
The exit code is 1 when there is an error, else 0.

Examples:
  $ tsnsrv-sup doctor
  $ tsnsrv-sup doctor --json | jq -r '.[] | select(.severity == "error") | .remedy'`,
    )
    .action(async ({ json }: { json?: true }, command: Command) => {
      const findings = diagnose(await lookAround(command))
      const errors = findings.filter(({ severity }) => severity === 'error').length
      if (json) stdout.write(`${JSON.stringify(findings, null, 2)}\n`)
      else if (findings.length === 0) stdout.write('Nothing is wrong.\n')
      else for (const finding of findings) stdout.write(`${render(finding, colorsFor(stdout))}\n`)
      if (errors > 0) throw new FindingsError(`${count(errors, 'error')} found`)
    })
}

function render({ check, severity, about, message, remedy }: Finding, colors: Colors): string {
  const paint = { error: colors.red, warning: colors.yellow, info: colors.dim }[severity]
  const subject = about === '' ? '' : `${about}: `
  return `${paint(`${severity} [${check}]`)} ${subject}${plain(message)}\n  ${colors.dim('->')} ${plain(remedy)}`
}

async function lookAround(command: Command): Promise<Facts> {
  const { status, unsupervised } = await askSupervisor(command)
  const { stateDir } = await directoriesOf(command)
  const { config: named } = command.opts<{ config?: string }>()
  const { config, configProblem } = await readConfig(named ?? status?.configFile)
  const root = status?.stateDir ?? config?.settings.stateDir ?? stateDir
  const services = config?.services ?? []
  const ofService = new Map(services.map(({ name, spec }) => [spec.exposure.node.stateDir, name]))
  const paths = new Set([...ofService.keys(), ...(config ? await nodeDirectoriesBelow(root) : [])])
  const directories = await Promise.all([
    seeDirectory(root).then((seen) => seen.map((one) => ({ ...one, service: null }))),
    ...[...paths].map(async (path) => (await seeDirectory(path)).map((one) => ({ ...one, service: ofService.get(path) ?? '' }))),
  ])
  const controls = [...new Set(services.map(({ spec }) => spec.exposure.node.controlURL))]
  return {
    now: Date.now(),
    status,
    unsupervised,
    configProblem,
    services: await Promise.all(
      services.map(async (service) => ({
        name: service.name,
        hostname: service.spec.exposure.node.hostname,
        upstream: service.upstream,
        upstreamProblem: await upstreamProblem(service),
        ephemeral: service.spec.exposure.node.ephemeral,
      })),
    ),
    directories: directories.flat(),
    ...(await freeSpace(root)),
    filesProblem: config ? openFilesProblem(await openFileLimit(), services.length, config.settings) : '',
    ...(await installedVersion(config?.settings.workerBinary ?? '')),
    control: await Promise.all(controls.map(seeControl)),
  }
}

async function askSupervisor(command: Command): Promise<{ status: Status | null; unsupervised: Unsupervised | null }> {
  let unsupervised: Unsupervised | null = null
  try {
    const status = await withAdminClient(
      command,
      (client) => client.status(),
      (found) => (unsupervised = found),
    )
    return { status, unsupervised: null }
  } catch (error) {
    if (!(error instanceof NoSupervisorError)) throw error
    return { status: null, unsupervised }
  }
}

async function readConfig(file: string | undefined): Promise<{ config?: ResolvedConfig; configProblem: string }> {
  if (file === undefined) return { configProblem: '' }
  try {
    return { config: (await loadConfig(file, { flags: {}, env: process.env })).config, configProblem: '' }
  } catch (error) {
    return { configProblem: `${file} cannot be used: ${inWords(error)}` }
  }
}

async function installedVersion(binary: string): Promise<{ installedVersion?: string }> {
  try {
    return { installedVersion: await readWorkerVersion(findWorkerBinary(binary)) }
  } catch {
    // "version" and "start" say what is wrong with it.
    return {}
  }
}
