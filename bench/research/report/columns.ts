/** Cells below each other for a terminal, with spaces between; the last column is as wide as it is. */
export function columns(rows: readonly (readonly string[])[], gap = 3): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join(' '.repeat(gap))
        .trimEnd(),
    )
    .join('\n')
}
