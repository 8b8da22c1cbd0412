/** Names such as <upstream> stand in cases for what is another in each run: addresses, paths, host names. */
export type Names = Readonly<Record<string, string>>

/** Puts what they stand for in the place of the names. */
export function fill(text: string, names: Names): string {
  return text.replaceAll(/<([\w-]+)>/g, (written, name: string) => names[name] ?? written)
}

/** Puts the names in the place of what they stand for, and <id> in that of a request's id. */
export function blank(text: string, names: Names): string {
  const longestFirst = Object.entries(names).sort(([, a], [, b]) => b.length - a.length)
  const blanked = longestFirst.reduce((rest, [name, value]) => rest.replaceAll(value, `<${name}>`), text)
  return blanked.replace(/(?<=^|\(request )[0-9a-z]{20,26}(?=$|\))/, '<id>')
}
