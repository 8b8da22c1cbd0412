/** One Prometheus text out of several (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format). */

interface Family {
  help: string
  type: string
  samples: Map<string, string>
}

/** What a histogram or summary appends to its name for its samples. */
const SUFFIX = /_(?:bucket|sum|count)$/
const METADATA = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?$/
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})? +\S/

/**
 * Merges texts so that each family stands once, under one HELP and TYPE, as scrapers demand: families in order of first sight,
 * samples in order of the texts. HELP and TYPE are those of the first text that has them. Of two samples of the same series
 * the first stays: a scrape with a series twice would be refused whole. Lines that are no exposition are left out.
 */
export function mergeExpositions(texts: readonly string[]): string {
  const families = new Map<string, Family>()
  for (const text of texts) mergeInto(families, text)
  const lines: string[] = []
  for (const [name, { help, type, samples }] of families) {
    if (help !== '') lines.push(`# HELP ${name} ${help}`)
    if (type !== '') lines.push(`# TYPE ${name} ${type}`)
    lines.push(...samples.values())
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

function mergeInto(families: Map<string, Family>, text: string): void {
  const family = (name: string): Family => {
    const known = families.get(name) ?? { help: '', type: '', samples: new Map<string, string>() }
    families.set(name, known)
    return known
  }
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) {
      const [, keyword, name, value = ''] = METADATA.exec(line) ?? []
      if (name === undefined) continue
      if (keyword === 'HELP') family(name).help ||= value
      else family(name).type ||= value
      continue
    }
    const sample = SAMPLE.exec(line)
    if (sample?.[1] === undefined) continue
    const series = `${sample[1]}${sample[2] ?? ''}`
    const { samples } = family(familyOf(sample[1], families))
    if (!samples.has(series)) samples.set(series, line)
  }
}

/** `x_bucket`, `x_sum` and `x_count` belong to a histogram or summary x, unless they are families of their own. */
function familyOf(name: string, families: ReadonlyMap<string, Family>): string {
  if (families.has(name)) return name
  const base = name.replace(SUFFIX, '')
  const type = families.get(base)?.type
  return type === 'histogram' || (type === 'summary' && !name.endsWith('_bucket')) ? base : name
}
