/**
 * Reads a YAML node as a schema wants it. Every value is checked at its own place, so that all errors come at once and
 * each knows where it is; what is wrong is left out of the result, and the reading goes on.
 */
import { closestMatch } from 'leven'
import { isMap, isScalar, isSeq, type Scalar, type YAMLMap, type YAMLSeq } from 'yaml'
import * as z from 'zod'
import { ConfigFile, ServiceConfig, ServiceDefaults, SupervisorConfig } from '../../shared/config.ts'
import { maskLine } from './maskedSource.ts'
import { quote, type Range, type Report } from './report.ts'
import { presentSchema, readScalar } from './scalar.ts'
import { isNothing, rangeOf, textOf, type YamlDocument, type YamlNode } from './yamlDocument.ts'

export interface ReadContext {
  readonly document: YamlDocument
  readonly report: Report
}

/** Where a value stands: the name that messages call it by, and a range in case that it has none of its own. */
interface Place {
  readonly name: string
  readonly range: Range | undefined
}

/**
 * The value of a node: text, number, boolean, list or plain object of them. Undefined when it is absent, null or wrong;
 * no defaults are filled in, so that the caller sees what was written. A wrong element of a list leaves a hole.
 */
export function readAs(schema: z.ZodType, node: YamlNode | undefined, place: Place, context: ReadContext): unknown {
  if (node === undefined || isNothing(node)) return undefined
  const { report } = context
  if (node.tag !== undefined && !KNOWN_TAGS.has(node.tag)) {
    report.error(rangeOf(node), `${place.name}: the tag ${node.tag} means nothing here`, 'remove it')
    return undefined
  }
  const wanted = presentSchema(schema)
  if (wanted instanceof z.ZodObject) {
    if (isMap(node)) return readObject(wanted, node, place, context)
  } else if (wanted instanceof z.ZodRecord) {
    if (isMap(node)) return readRecord(wanted, node, place, context)
  } else if (wanted instanceof z.ZodArray) {
    if (isSeq(node)) return readList(wanted, node, place, context)
  } else if (isScalar(node)) return readLeaf(wanted, node, place, context)
  report.error(rangeOf(node), `${place.name}: want ${shapeWanted(wanted)}, got ${shapeOf(node)}`, remedyFor(wanted, node))
  return undefined
}

/** Tags of YAML's own that say what a node is anyway; only !!str changes how it is read. */
const STRING_TAGS: ReadonlySet<string> = new Set(['!', 'tag:yaml.org,2002:str'])
const KNOWN_TAGS: ReadonlySet<string> = new Set([
  ...STRING_TAGS,
  ...['int', 'float', 'bool', 'null', 'timestamp', 'seq', 'map'].map((name) => `tag:yaml.org,2002:${name}`),
])

function readLeaf(wanted: z.ZodType, node: Scalar, { name }: Place, { report }: ReadContext): unknown {
  const plain = node.type === 'PLAIN' && !STRING_TAGS.has(node.tag ?? '')
  const reading = readScalar(wanted, { text: textOf(node), plain })
  if ('problem' in reading) {
    report.error(rangeOf(node), `${name}: ${reading.problem}`, reading.hint)
    return undefined
  }
  if (reading.note !== undefined) report.note(rangeOf(node), `${name}: ${reading.note}`)
  return reading.value
}

function readObject(wanted: z.ZodObject, node: YAMLMap, place: Place, context: ReadContext): object {
  const { document, report } = context
  const shape = wanted.shape as Readonly<Record<string, z.ZodType>>
  const entries = document.entries(node)
  const read: Record<string, unknown> = {}
  for (const [name, entry] of entries) {
    const schema = Object.hasOwn(shape, name) ? shape[name] : undefined
    if (schema) {
      const value = readAs(schema, entry.value, { name, range: entry.key }, context)
      if (value !== undefined) read[name] = value
    } else if (!name.startsWith('x-'))
      report.error(entry.key, `unknown key ${quote(maskLine(name))}`, hintForUnknown(name, shape))
  }
  const [first] = entries.values()
  const misspelt = misspeltKeys(entries.keys(), shape)
  for (const [name, message] of requiredKeys(wanted)) {
    const entry = entries.get(name)
    if (!isNothing(entry?.value) || misspelt.has(name)) continue
    const hint = entry ? 'it is empty: write "- name: ..." below it' : `add "${name}:" here`
    report.error(entry?.key ?? first?.key ?? place.range, message, hint)
  }
  return read
}

const required = new WeakMap<z.ZodObject, (readonly [string, string])[]>()

/** The keys that a mapping must have, with what to say when one is missing. Asked for each service, so worked out once. */
function requiredKeys(wanted: z.ZodObject): readonly (readonly [string, string])[] {
  const known = required.get(wanted)
  if (known) return known
  const keys = Object.entries(wanted.shape as Readonly<Record<string, z.ZodType>>)
    .filter(([, schema]) => presentSchema(schema) === schema)
    .map(([name, schema]) => [name, messageOf(schema, undefined)] as const)
  required.set(wanted, keys)
  return keys
}

function readRecord(wanted: z.ZodRecord, node: YAMLMap, { name }: Place, context: ReadContext): object {
  const read: [string, unknown][] = []
  for (const [key, entry] of context.document.entries(node)) {
    const problem = messageOf(wanted.keyType as z.ZodType, key)
    if (problem) context.report.error(entry.key, `${name}: ${problem}`)
    // null as an element is the empty text, as in yaml.v3: the key is there.
    const place = { name: `${name}: ${key}`, range: entry.key }
    const value = isNothing(entry.value) ? '' : readAs(wanted.valueType as z.ZodType, entry.value, place, context)
    read.push([key, value])
  }
  return Object.fromEntries(read)
}

function readList(wanted: z.ZodArray, node: YAMLSeq, { name }: Place, context: ReadContext): unknown[] {
  const element = wanted.element as z.ZodType
  const values = context.document.items(node).map((item) => {
    const range = rangeOf(item ?? node)
    if (isNothing(item)) context.report.error(range, `${name}: an entry is empty`, 'fill it in, or remove its "-"')
    return readAs(element, item, { name, range }, context)
  })
  // The only check on a list as a whole is that it holds something.
  const problem = values.length === 0 ? messageOf(wanted, values) : ''
  if (problem) context.report.error(rangeOf(node), problem)
  return values
}

/** What a schema says against a value; empty when it takes it. */
function messageOf(schema: z.ZodType, value: unknown): string {
  return schema.safeParse(value).error?.issues[0]?.message ?? ''
}

function shapeWanted(wanted: z.ZodType): string {
  if (wanted instanceof z.ZodObject || wanted instanceof z.ZodRecord) return 'a mapping (key: value)'
  if (wanted instanceof z.ZodArray) return 'a list'
  if (wanted instanceof z.ZodBoolean) return 'true or false'
  return wanted instanceof z.ZodNumber ? 'a number' : 'a text'
}

function shapeOf(node: YamlNode): string {
  if (isMap(node)) return 'a mapping'
  return isSeq(node) ? 'a list' : 'a single value'
}

function remedyFor(wanted: z.ZodType, node: YamlNode): string | undefined {
  if (wanted instanceof z.ZodArray && isMap(node)) return remedyForMap(wanted, node)
  if (wanted instanceof z.ZodArray && isScalar(node)) return `write it as a list of one: [${textOf(node)}]`
  if (wanted instanceof z.ZodRecord && isSeq(node)) return 'write "Name: value" lines without "-"'
  if (wanted === ConfigFile && isSeq(node)) return 'put "services:" on a line above the list'
  return undefined
}

/** A mapping in the place of a list: its entries were to be elements, or its "-" is missing. */
function remedyForMap(wanted: z.ZodArray, node: YAMLMap): string | undefined {
  if (!(wanted.element instanceof z.ZodObject)) return 'write each entry on a line that begins with "- "'
  const [key] = node.items.map((pair) => (isScalar(pair.key) ? textOf(pair.key) : ''))
  if (key === undefined || key === '') return undefined
  if (Object.hasOwn(wanted.element.shape, key)) return `begin each entry with "- ", as in "- ${key}: ..."`
  return `write each as "- name: ${key}", with its keys below`
}

/** Keys by the level that they belong to, for keys that stand at the wrong one. */
const LEVELS: readonly (readonly [string, object])[] = [
  ['a service, or to "defaults:"', ServiceDefaults.shape],
  ['a service', ServiceConfig.shape],
  ['"supervisor:"', SupervisorConfig.shape],
  ['the top level of the file', ConfigFile.shape],
]

/** What is longer than this was never meant to be one of our keys. */
const LONGEST_TYPO = 40

function hintForUnknown(name: string, shape: object): string {
  const level = LEVELS.find(([, keys]) => Object.hasOwn(keys, name))
  if (level) return `${name} belongs to ${level[0]}`
  const nearest = nearestKey(name, shape)
  if (nearest !== undefined) return `did you mean ${nearest}?`
  return 'remove it, or start it with "x-" to keep it as a note'
}

/** The key that was probably meant. */
function nearestKey(name: string, shape: object): string | undefined {
  const known = Object.keys(shape)
  const lowered = known.map((key) => key.toLowerCase())
  const maxDistance = Math.max(2, Math.floor(name.length / 3))
  const nearest = name.length > LONGEST_TYPO ? undefined : closestMatch(name.toLowerCase(), lowered, { maxDistance })
  return nearest === undefined ? undefined : known[lowered.indexOf(nearest)]
}

/** Which keys of a shape are there under a wrong name: that is reported, and they are not missing besides. */
export function misspeltKeys(names: Iterable<string>, shape: object): ReadonlySet<string> {
  const wrong = [...names].filter((name) => !Object.hasOwn(shape, name) && !name.startsWith('x-'))
  return new Set(wrong.flatMap((name) => nearestKey(name, shape) ?? []))
}
