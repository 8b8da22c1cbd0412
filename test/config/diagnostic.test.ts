import { describe, expect, test } from 'vitest'
import { ConfigError, type Diagnostic, renderDiagnostics } from '../../supervisor/config/diagnostic.ts'

const at = (line: number, column: number, length: number, message = 'wrong'): Diagnostic => ({
  severity: 'error',
  file: 'f.yaml',
  line,
  column,
  length,
  message,
})

/** Only the lines with the source and the carets. */
const excerptOf = (text: string, diagnostic: Diagnostic) => renderDiagnostics([diagnostic], text).split('\n').slice(1)

test('shows place, reason, line, carets and hint', () => {
  expect(renderDiagnostics([{ ...at(2, 4, 3), hint: 'mend it' }], 'one\na: two\n')).toBe(
    ['f.yaml:2:4: error: wrong', '  2 | a: two', '    |    ^^^', '    = mend it'].join('\n'),
  )
})

test('what concerns no place or has no text is shown without a line', () => {
  expect(renderDiagnostics([at(0, 0, 1)], 'text')).toBe('f.yaml: error: wrong')
  expect(renderDiagnostics([at(3, 2, 1)])).toBe('f.yaml:3:2: error: wrong')
})

test('carets stay under the place behind tabs, control characters and wide code points', () => {
  expect(excerptOf('\tb: x', at(1, 5, 1))).toEqual(['  1 |   b: x', '    |      ^'])
  expect(excerptOf('a\u001b[1m: x', at(1, 8, 1))).toEqual(['  1 | a␛[1m: x', '    |        ^'])
  expect(excerptOf('😀: x', at(1, 5, 1))).toEqual(['  1 | 😀: x', '    |    ^'])
  expect(excerptOf('a: x\r\nb', at(1, 4, 1))).toEqual(['  1 | a: x', '    |    ^'])
})

test('a long line is clipped around the place', () => {
  const [shown, carets] = excerptOf(`${'a'.repeat(5000)}HERE${'b'.repeat(5000)}`, at(1, 5001, 4))
  expect(shown!.length).toBeLessThan(120)
  expect(shown!.slice(carets!.indexOf('^'), carets!.lastIndexOf('^') + 1)).toBe('HERE')
})

test('text that turns the direction of writing or hides cannot', () => {
  expect(renderDiagnostics([at(1, 1, 1, 'evil \u202e\u0000')], 'x\u200b\u202e')).not.toMatch(/[\u202e\u200b\0]/)
})

test('secrets in the line are masked, and places stay', () => {
  const line = 'u: http://anna:pass@h, k: tskey-auth-abc, h: Bearer eyJ'
  const [shown] = excerptOf(line, at(1, 1, 1))
  expect(shown).not.toMatch(/pass|abc|eyJ/)
  expect(shown).toHaveLength(line.length + '  1 | '.length)
})

test('the same said of many places is said once', () => {
  const text = 'x\n'.repeat(20)
  const many = Array.from({ length: 20 }, (_, index) => at(index + 1, 1, 1))
  expect(renderDiagnostics(many, text).split('\n')).toEqual([
    'f.yaml:1:1: error: wrong',
    '  1 | x',
    '    | ^',
    '    = also at 2:1, 3:1, 4:1, 5:1, 6:1 and 14 more',
  ])
})

test('fifty different errors are shown, the rest is counted', () => {
  const many = Array.from({ length: 60 }, (_, index) => at(1, 1, 1, `wrong ${index}`))
  const rendered = renderDiagnostics(many, 'x')
  expect(rendered.match(/error:/g)).toHaveLength(50)
  expect(rendered.endsWith('... and 10 more')).toBe(true)
})

describe('ConfigError', () => {
  test('has all diagnostics, a plain message, and colours on request', () => {
    const error = new ConfigError([at(1, 1, 1)], 'x')
    expect(error.diagnostics).toHaveLength(1)
    expect(error.message).not.toContain('\u001b')
    expect(error.render({ colour: true })).toContain('\u001b[31m')
  })
})
