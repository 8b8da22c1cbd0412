/**
 * Writes everything that is generated: from the zod schemas in shared/, JSON Schema for editors and for the protocol, the
 * worker's Go types, and the reference of the configuration; from the tables of test/conformance, their record; from the units,
 * their templates. `npm run generate` writes; `npm run generate -- --check` fails when a file is out of date.
 */
import { mkdtemp, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { execa } from 'execa'
import * as z from 'zod'
import { protocolShapes } from '../shared/protocol.ts'
import { configSchema } from '../supervisor/config/configSchema.ts'
import { conformanceRecord } from '../test/conformance/record.ts'
import { alertsReference } from './alertsReference.ts'
import { metricsReference } from './metricsReference.ts'
import { openAPI } from './openAPI.ts'
import { configurationReference } from './configurationReference.ts'
import { instanceUnits } from './instanceUnits.ts'

const root = join(import.meta.dirname, '..')

/** JSON Schema of what a sender may write: defaulted keys are optional and unknown ones allowed where the reader ignores them. */
function jsonSchema(schema: z.ZodType, title: string): string {
  return `${JSON.stringify({ title, ...z.toJSONSchema(schema, { io: 'input' }) }, null, 2)}\n`
}

async function goTypes(protocolSchema: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-generate-'))
  try {
    const schemaFile = join(directory, 'protocol.schema.json')
    const goFile = join(directory, 'protocol.gen.go')
    await writeFile(schemaFile, protocolSchema)
    await execa(
      'go',
      [
        'tool',
        'go-jsonschema',
        '--package',
        'protocol',
        '--only-models=false',
        '--tags',
        'json',
        '--capitalization',
        'URL,DNS,ID',
        '--output',
        goFile,
        schemaFile,
      ],
      { cwd: join(root, 'worker', 'tools') },
    )
    return await readFile(goFile, 'utf8')
  } finally {
    await rm(directory, { recursive: true })
  }
}

const protocol = jsonSchema(z.object(protocolShapes), 'Protocol')
const generated: Record<string, string> = {
  'shared/generated/config.schema.json': `${configSchema()}\n`,
  'shared/generated/protocol.schema.json': protocol,
  'worker/internal/protocol/protocol.gen.go': await goTypes(protocol),
  'docs/configuration.md': configurationReference(),
  'shared/generated/openapi.json': `${JSON.stringify(openAPI(), null, 2)}\n`,
  'docs/alerts.md': alertsReference(),
  'docs/metrics.md': await metricsReference(root),
  'docs/conformance.md': conformanceRecord(),
  ...instanceUnits(root),
}

const check = process.argv.includes('--check')
for (const [path, content] of Object.entries(generated)) {
  const file = join(root, path)
  if (!check) {
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, content)
  } else if ((await readFile(file, 'utf8').catch(() => '')) !== content) {
    console.error(`${path} is out of date: run npm run generate`)
    process.exitCode = 1
  }
}
