/** Prometheus text, read and written (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format). Pure. */

/** What a family is, beside its samples; empty when nobody said it. */
export interface Metadata {
  readonly help: string
  readonly type: string
}

interface Family extends Metadata {
  /** Value, and what comes after it, by series: name and labels as they are written. */
  readonly samples: ReadonlyMap<string, string>
}

/** The families of a text by name, in order of first sight. */
export type Exposition = ReadonlyMap<string, Family>

interface OpenFamily {
  help: string
  type: string
  samples: Map<string, string>
}

/** What a histogram or summary appends to its name for its samples. */
const SUFFIX = /_(?:bucket|sum|count)$/
const METADATA = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?$/
const SAMPLE = /^(([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?) +(\S.*)$/

/** Reads a text. Of two samples of the same series the first stays. Lines that are no exposition are left out. */
export function parseExposition(text: string): Exposition {
  const families = new Map<string, OpenFamily>()
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) {
      const [, keyword, name, value = ''] = METADATA.exec(line) ?? []
      if (name === undefined) continue
      if (keyword === 'HELP') open(families, name).help ||= value
      else open(families, name).type ||= value
      continue
    }
    const [, series, name, value] = SAMPLE.exec(line) ?? []
    if (series === undefined || name === undefined || value === undefined) continue
    const { samples } = open(families, familyOf(name, families))
    if (!samples.has(series)) samples.set(series, value)
  }
  return families
}

/**
 * Makes one of several: each family once, under one HELP and TYPE, as scrapers demand. HELP and TYPE are those of the first
 * that has them. The same series of several counters or histograms is added up; of any other the first stays.
 */
export function mergeExpositions(expositions: readonly Exposition[]): Exposition {
  const merged = new Map<string, OpenFamily>()
  for (const exposition of expositions) {
    for (const [name, { help, type, samples }] of exposition) {
      const family = open(merged, name)
      family.help ||= help
      family.type ||= type
      for (const [series, value] of samples) {
        const known = family.samples.get(series)
        if (known === undefined) family.samples.set(series, value)
        else if (isCumulative(family)) family.samples.set(series, String(Number(known) + Number(value)))
      }
    }
  }
  return merged
}

export function renderExposition(exposition: Exposition): string {
  const lines: string[] = []
  for (const [name, { help, type, samples }] of exposition) {
    if (help !== '') lines.push(`# HELP ${name} ${help}`)
    if (type !== '') lines.push(`# TYPE ${name} ${type}`)
    for (const [series, value] of samples) lines.push(`${series} ${value}`)
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

/**
 * The same as OpenMetrics (https://prometheus.io/docs/specs/om/open_metrics_spec/): a counter is named without its _total, what
 * has no type is "unknown", and the page has an end.
 */
export function renderOpenMetrics(exposition: Exposition): string {
  const lines: string[] = []
  for (const [name, { help, type, samples }] of exposition) {
    const isCounter = type === 'counter'
    const base = isCounter ? name.replace(/_total$/, '') : name
    lines.push(`# TYPE ${base} ${type === '' || type === 'untyped' ? 'unknown' : type}`)
    if (help !== '') lines.push(`# HELP ${base} ${help.replaceAll('"', '\\"')}`)
    for (const [series, value] of samples) lines.push(`${isCounter && base === name ? withTotal(series) : series} ${value}`)
  }
  return `${[...lines, '# EOF'].join('\n')}\n`
}

/** A counter of OpenMetrics has to end in _total. */
const withTotal = (series: string): string => series.replace(/^[^{]+/, '$&_total')

/** Whether the samples of a family only grow, and those of several processes can be added up. */
export const isCumulative = ({ type }: Metadata): boolean => type === 'counter' || type === 'histogram'

function open(families: Map<string, OpenFamily>, name: string): OpenFamily {
  const known = families.get(name) ?? { help: '', type: '', samples: new Map<string, string>() }
  families.set(name, known)
  return known
}

/** `x_bucket`, `x_sum` and `x_count` belong to a histogram or summary x, unless they are families of their own. */
export function familyOf(name: string, families: ReadonlyMap<string, Metadata>): string {
  if (families.has(name)) return name
  const base = name.replace(SUFFIX, '')
  const type = families.get(base)?.type
  return type === 'histogram' || (type === 'summary' && !name.endsWith('_bucket')) ? base : name
}
