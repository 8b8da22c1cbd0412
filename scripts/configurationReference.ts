/** docs/configuration.md: every key of the configuration, from the schema and from the options that the settings declare. */
import { Command } from 'commander'
import { stringify } from 'yaml'
import * as z from 'zod'
import { ConfigFile, ServiceConfig, TCPForward } from '../shared/config.ts'
import { OWN_SETTINGS, WORKER_SETTINGS } from '../supervisor/config/changes.ts'
import { addSettingsOptions } from '../supervisor/config/settings.ts'
import { table } from './markdownTable.ts'

const KEY_TITLES = ['key', 'type', 'default', 'example', 'meaning']

/** What the tables show of a key's JSON Schema. */
const Property = z.looseObject({
  type: z.string(),
  /** What a text is, where not any text will do. */
  title: z.string().optional(),
  description: z.string().default(''),
  default: z.unknown().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  examples: z.array(z.unknown()).optional(),
})
type Property = z.infer<typeof Property>

const Properties = z.looseObject({ properties: z.record(z.string(), Property) })

/** The page as Markdown. Deterministic: it is compared with the one that is checked in. */
export function configurationReference(): string {
  const { supervisor, prometheusAddr } = ConfigFile.shape
  const settings = { ...propertiesOf(supervisor.unwrap()), prometheusAddr: Property.parse(inputSchema(prometheusAddr)) }
  return `# Configuration

<!-- Generated from shared/config.ts and from settings.ts and changes.ts of supervisor/config by \`npm run generate\`. Edit those. -->

One YAML file in the format of arsfeld/tsnsrv, with \`supervisor:\`, \`defaults:\` and more keys of services than that has. It is
read as yaml.v3 reads it (\`yes\` is true, anchors and merge keys work); unknown and duplicate keys are errors. Keys that start
with \`x-\` are free for notes and anchors. Relative paths start at the working directory.
Variables are not expanded: a value with \`\${NAME}\` is refused; make the file with envsubst.
\`tsnsrv-sup validate FILE\` shows all that is wrong at once. It looks into the files of \`certificateFile\`, \`keyFile\` and
\`upstreamCAFile\`, and for that of \`authkeyPath\`, too: what is wrong there is a note, here and in the log of \`start\`, as it is the trouble of one service.

For completion in an editor: \`tsnsrv-sup schema > services.schema.json\`, and begin the file with
\`# yaml-language-server: $schema=services.schema.json\`. \`tsnsrv-sup init\` writes a first file with that line.

A duration is a Go duration: \`500ms\`, \`5s\`, \`1m30s\`. A bare number is refused. A size is in bytes, with a unit: \`512MiB\`,
\`1.5GiB\`.

## Top level

- \`services\`: the services, at least one; see [Services](#services).
- \`defaults\`: any key of a service but \`name\` and \`upstream\`, for all services that do not have it themselves.
- \`supervisor\`: how the supervisor and its workers run; see [Supervisor](#supervisor).
- \`prometheusAddr\`: ${settings.prometheusAddr.description}

## Supervisor

Keys of \`supervisor:\`, and \`prometheusAddr\` of the top level. Each has a flag of \`start\`, \`plan\` and \`validate\` and an
environment variable as well: a flag wins over its variable, that over the file, that over the default. On the command line
and in variables, elements of a list have commas between them.

${table(['key', 'type', 'default', 'example', 'flag, variable', 'meaning'], Object.entries(settings).map(settingRow))}

A reload takes them over at once, but

- ${keysOf(WORKER_SETTINGS)} only for workers that start from then on,
- ${keysOf(OWN_SETTINGS)} when the supervisor is started again,
- \`stateDir\` and \`runDir\` not at all: it is refused while services run.

## Services

Elements of \`services:\`; all but \`name\` and \`upstream\` may stand under \`defaults:\` too. Which application needs which of
them is in [applications](applications.md).

${table(KEY_TITLES, Object.entries(propertiesOf(ServiceConfig)).map(keyRow))}

Elements of \`tcp:\` are

${table(KEY_TITLES, Object.entries(propertiesOf(TCPForward)).map(keyRow))}

Where the auth key of a service comes from, the first that there is: the file \`authkeyPath\` (a bare name is a systemd
credential of that name, if there is one); the systemd credential \`authkey\`; \`$TS_AUTHKEY\`, \`$TS_AUTH_KEY\`. A value that
begins with \`tskey-client-\` is an OAuth client secret: it is turned into one key for each node that has to log in, which
takes \`tags\`. Without any, \`tsnsrv-sup status\` shows a URL where a person logs the node in.
`
}

function settingRow([key, property]: [string, Property]): string[] {
  const { flag, variable } = sourceOf(key)
  return [...typeRow(key, property), `\`${flag}\` \`$${variable}\``, property.description]
}

function keyRow([key, property]: [string, Property]): string[] {
  return [...typeRow(key, property), property.description]
}

function typeRow(key: string, property: Property): string[] {
  return [`\`${key}\``, typeOf(property), defaultOf(property), exampleOf(key, property)]
}

/** Asked of commander, as the table of sources is the settings' own: the variable stands at the end of the description. */
const options = addSettingsOptions(new Command()).options

function sourceOf(key: string): { flag: string; variable: string } {
  const wanted = key.toLowerCase()
  const option = options.find((candidate) => candidate.attributeName().toLowerCase() === wanted)
  const variable = /\[\$(\w+)\]$/.exec(option?.description ?? '')?.[1]
  if (option?.long == null || variable === undefined) throw new Error(`the setting ${key} has no flag with a variable`)
  return { flag: option.long, variable }
}

/** What may be written: defaulted keys are optional. */
const inputSchema = (schema: z.ZodType): unknown => z.toJSONSchema(schema, { io: 'input' })

const propertiesOf = (schema: z.ZodType): Record<string, Property> => Properties.parse(inputSchema(schema)).properties

function typeOf({ type, title, minimum, maximum }: Property): string {
  if (title !== undefined) return title
  if (type === 'integer') return `${minimum ?? ''} to ${maximum ?? ''}`
  return { string: 'text', boolean: 'true, false', array: 'list', object: 'map', number: 'number' }[type] ?? type
}

function defaultOf({ default: value }: Property): string {
  if (value === undefined) return 'required'
  const text = Array.isArray(value) ? value.join(',') : typeof value === 'string' ? value : JSON.stringify(value)
  return text === '' || text === '{}' ? '' : `\`${text}\``
}

/** As it stands in the file, behind its key. */
function exampleOf(key: string, { type, default: value, examples }: Property): string {
  const example = type === 'boolean' ? !value : examples?.[0]
  if (example === undefined) throw new Error(`the key ${key} has no example`)
  return `\`${stringify(example, { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 }).trim()}\``
}

/** The keys of settings as a list in words: settings say the unit where the file gives it with the value. */
const keysOf = (settings: readonly string[]): string =>
  settings
    .map((setting) => `\`${setting.replace(/(Ms|Bytes)$/, '')}\``)
    .join(', ')
    .replace(/, (?=[^,]+$)/, ' and ')
