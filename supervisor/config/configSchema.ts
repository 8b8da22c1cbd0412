/** JSON Schema of the configuration file. */
import * as z from 'zod'
import { ConfigFile } from '../../shared/config.ts'

/** The schema as JSON, of what may be written: keys with a default are optional. Rules between keys are for `validate` alone. */
export function configSchema(): string {
  return JSON.stringify({ title: 'tsnsrv-sup configuration', ...z.toJSONSchema(ConfigFile, { io: 'input' }) }, null, 2)
}
