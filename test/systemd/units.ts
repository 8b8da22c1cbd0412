/** The units that the project tells people to use, as text that a systemd can be given under a name of a test's own. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { evaluate } from '../nix/evaluate.ts'

const root = join(import.meta.dirname, '..', '..')

/** Lines of a section by their names; a list is several lines of one name, and null takes a line out. */
export type Lines = Readonly<Record<string, string | readonly string[] | null>>

export interface Unit {
  readonly service: Lines
  readonly environment: Readonly<Record<string, string>>
  /** Where it reads its configuration, and what stands there; undefined when that is the test's. */
  readonly configPath: string
  readonly configText: string | undefined
  /** Files that it loads its credentials from. */
  readonly keyFiles: readonly string[]
}

/** The one that packages install, without what holds its workers when it has failed. */
export async function packagedUnit(): Promise<Unit> {
  const text = await readFile(join(root, 'packaging', 'systemd', 'tsnsrv-sup.service'), 'utf8')
  const section = /^\[Service\]\n(.*?)^\[/ms.exec(text)?.[1] ?? ''
  const service: Record<string, string[]> = {}
  for (const [, key = '', value = ''] of section.matchAll(/^(\w+)=(.*)$/gm)) (service[key] ??= []).push(value)
  const configPath = /--config (\S+)/.exec(service.ExecStart?.[0] ?? '')?.[1]
  if (configPath === undefined) throw new Error('the unit names no configuration')
  return { service, environment: {}, configPath, configText: undefined, keyFiles: keyFilesOf(service.LoadCredential) }
}

const ModuleUnit = z.object({
  configText: z.string(),
  failedAssertions: z.array(z.string()).length(0),
  unit: z.object({
    environment: z.record(z.string(), z.string()).prefault({}),
    serviceConfig: z.record(z.string(), z.unknown()),
  }),
})

/** The one that nix/module.nix makes of `settings`, the inside of services.tsnsrv in Nix. */
export async function moduleUnit(settings: string): Promise<Unit> {
  const evaluated = await evaluate(`import ./evaluate.nix {
    inherit lib;
    settings.services.tsnsrv = { enable = true; supervisor.enable = true; ${settings} };
  }`)
  const { configText, unit } = ModuleUnit.parse(evaluated)
  const service = Object.fromEntries(
    Object.entries(unit.serviceConfig).map(([name, value]) => [name, unitValue(value)]),
  ) as Record<string, string | string[]>
  const keyFiles = keyFilesOf(service.LoadCredential)
  return { service, environment: unit.environment, configPath: '/etc/tsnsrv-sup/config.yaml', configText, keyFiles }
}

/** "id:path", one or several. */
const keyFilesOf = (credentials: string | readonly string[] = []): string[] =>
  [credentials].flat().map((credential) => credential.slice(credential.indexOf(':') + 1))

/** As NixOS writes it. */
function unitValue(value: unknown): string | string[] {
  if (Array.isArray(value)) return value.map(String)
  if (typeof value === 'boolean') return value ? 'true' : 'false'
  return String(value)
}

/** The unit with some lines changed, as the text of a file, for a service called `name` in the place of tsnsrv-sup. */
export function unitText(unit: Unit, changes: Lines, name: string): string {
  const lines = Object.entries({ ...unit.service, ...changes }).flatMap(([key, value]) =>
    value === null ? [] : typeof value === 'string' ? [`${key}=${value}`] : value.map((each) => `${key}=${each}`),
  )
  const environment = Object.entries(unit.environment).map(([key, value]) => `Environment="${key}=${value}"`)
  return ['[Service]', ...lines.map((line) => renamed(line, name)), ...environment, ''].join('\n')
}

/** Everything that is called after the service: its directories and credentials. The program keeps its name. */
export function renamed(text: string, name: string): string {
  return text.replaceAll(/(?<!\/bin\/|\/nix\/store\/|Exec\w+=)tsnsrv-sup/g, name)
}
