/** The configuration from its text: read as the schema wants it, checked by the rules, defaults applied. Pure. */
import { join, resolve } from 'node:path'
import * as z from 'zod'
import { ConfigFile, ServiceConfig, type ServiceDefaults, type SupervisorConfig } from '../../shared/config.ts'
import type { Diagnostic } from './diagnostic.ts'
import { filesOf, type NamedFiles } from './namedFiles.ts'
import { misspeltKeys, readAs } from './readAs.ts'
import { Report } from './report.ts'
import { type ResolvedService, resolveService } from './resolveService.ts'
import { presentSchema } from './scalar.ts'
import { checkServices, type RuleContext, type WrittenService } from './serviceRules.ts'
import { type Overrides, resolveSettings, type Settings } from './settings.ts'
import { readYaml } from './yamlDocument.ts'

export type { ResolvedService } from './resolveService.ts'

/** A configuration that may run: plain data, every default applied, every rule kept. */
export interface ResolvedConfig {
  readonly settings: Settings
  /** In the order of the file. */
  readonly services: readonly ResolvedService[]
}

export interface ParsedConfig {
  readonly config: ResolvedConfig
  /** What is worth knowing and refuses nothing. */
  readonly notes: readonly Diagnostic[]
  /** Files that the services name; nobody has looked into them. */
  readonly files: readonly NamedFiles[]
}

/** What readAs makes of a ConfigFile: what was written and is right by itself. A hole is a service that is no mapping. */
interface WrittenConfig {
  readonly prometheusAddr?: string
  readonly supervisor?: Partial<SupervisorConfig>
  readonly defaults?: ServiceDefaults
  readonly services?: readonly (Partial<ServiceConfig> | undefined)[]
}

/** What a service has that says nothing. An empty name or upstream is one that was missing or wrong, and reported. */
const SILENT_SERVICE: ServiceConfig = { ...ServiceConfig.parse({ name: 'x', upstream: 'x' }), name: '', upstream: '' }

/**
 * Parses a configuration. `file` is what messages call it.
 * @throws {ConfigError} with everything that is wrong at once.
 */
export function parseConfig(text: string, file: string, overrides: Overrides): ParsedConfig {
  const report = new Report(text.replace(/^\uFEFF/, ''), file)
  const document = readYaml(report)
  const place = { name: 'the file', range: undefined }
  const written = readAs(ConfigFile, document.root, place, { document, report }) as WrittenConfig | undefined
  if (written === undefined && !report.failed) {
    report.error(undefined, 'the file is empty: configuration must define at least one service')
  }
  const { supervisor = {}, prometheusAddr, defaults = {}, services: entries = [] } = written ?? {}
  const settings = resolveSettings({ supervisor, prometheusAddr }, overrides, report, (key) =>
    document.place(key === 'prometheusAddr' ? [key] : ['supervisor', key]),
  )
  const cwd = overrides.cwd ?? '/'
  const services = entries.flatMap((own, index): WrittenService[] => {
    if (own === undefined) return []
    // Null and absent are never in it: readAs leaves them out, so that nothing here overrides with undefined.
    const said = withWholeLists({ ...defaults, ...own } as Partial<ServiceConfig>)
    const keys = { ...SILENT_SERVICE, ...said }
    const ownDir = keys.name && join(settings.stateDir, keys.name.toLowerCase())
    return [{ index, keys, said: new Set(Object.keys(said)), stateDir: keys.stateDir ? resolve(cwd, keys.stateDir) : ownDir }]
  })
  const context: RuleContext = {
    report,
    place: (index, key) =>
      document.place(['services', index, key]) ??
      document.place(['defaults', key]) ??
      document.place(['services', index, 'name']) ??
      document.place(['services', index]),
    misspelt: (index) => misspeltKeys(document.keys(['services', index]), ServiceConfig.shape),
  }
  checkServices(services, join(settings.stateDir, '.supervisor'), context)
  if (report.failed) throw report.refusal()
  return {
    config: { settings, services: services.map(({ keys, stateDir }) => resolveService(keys, stateDir, settings, cwd)) },
    notes: report.diagnostics,
    files: filesOf(services, context, cwd),
  }
}

/** Lists without the entries that were wrong, and with the defaults of those that are mappings. */
function withWholeLists(said: Partial<ServiceConfig>): Partial<ServiceConfig> {
  const whole = Object.entries(said).map(([key, value]) => {
    const schema = presentSchema(ServiceConfig.shape[key as keyof ServiceConfig])
    if (!(schema instanceof z.ZodArray)) return [key, value]
    const entries = (value as readonly unknown[]).map((entry) => (schema.element as z.ZodType).safeParse(entry))
    return [key, entries.flatMap((entry) => (entry.success ? [entry.data] : []))]
  })
  return Object.fromEntries(whole) as Partial<ServiceConfig>
}
