/** A table in the layout of the formatter: columns padded to their widest cell. What is plain text is not taken for a tag or the next cell. */
export function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [titles, ...rows].map((row) => row.map(escaped))
  const widths = titles.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  const [head = [], ...body] = cells
  return [head, widths.map((width) => '-'.repeat(width)), ...body].map(line).join('\n')
}

/** What stands between backticks is no tag in any case. */
const escaped = (cell: string): string =>
  cell.replace(/(`[^`]*`)|</g, (_, code: string | undefined) => code ?? '&lt;').replaceAll('|', '\\|')
