/** Draws SVGs. No DOM and no clock: the same figures give the same file. */
import { BarChart, LineChart, ScatterChart } from 'echarts/charts'
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components'
import { init, use, type EChartsCoreOption } from 'echarts/core'
import { LabelLayout } from 'echarts/features'
import { SVGRenderer } from 'echarts/renderers'
import { formatNumber } from './format.ts'

use([BarChart, LineChart, ScatterChart, GridComponent, LegendComponent, TitleComponent, LabelLayout, SVGRenderer])

const WIDTH = 900
const FONT = 'Helvetica, Arial, sans-serif'
const INK = '#1f2328'
const GRID = '#d8dee4'

/** Told apart with every kind of colour blindness (Okabe and Ito); the first is for ours. */
const COLORS = ['#d55e00', '#0072b2', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#7f7f7f', '#000000']

export interface Line {
  name: string
  points: readonly { services: number; median: number; repeats: readonly number[] }[]
}

/**
 * Growth with N, on logarithmic axes: a power of N is a straight line there, its exponent the slope, and subjects a hundred
 * times apart are both legible. Lines join medians, dots are single repeats. Values are in the axis' unit; what is not above
 * 0 has no place on such an axis and is left out.
 */
export function growthChart(title: string, axis: string, lines: readonly Line[]): string {
  const sizes = [...new Set(lines.flatMap(({ points }) => points.map(({ services }) => services)))].sort((a, b) => a - b)
  const values = lines.flatMap(({ points }) => points.flatMap(({ median, repeats }) => [median, ...repeats])).filter((y) => y > 0)
  const ticks = logTicks(Math.min(...values), Math.max(...values))
  return draw(480, {
    ...frame(title),
    legend: legend(lines.map(({ name }) => name)),
    grid: { left: 76, right: 32, top: 92, bottom: 56 },
    xAxis: {
      ...axisStyle('services', 34),
      type: 'log',
      min: sizes[0],
      max: sizes.at(-1),
      axisTick: { customValues: sizes },
      axisLabel: { color: INK, customValues: apart(sizes), formatter: formatNumber },
    },
    yAxis: {
      ...axisStyle(axis, 54),
      type: 'log',
      min: ticks[0],
      max: ticks.at(-1),
      axisTick: { customValues: ticks },
      axisLabel: { color: INK, customValues: ticks, formatter: formatNumber },
    },
    series: lines.flatMap(({ name, points }, i) => [
      {
        name,
        type: 'line',
        symbol: 'none',
        lineStyle: { width: i === 0 ? 3.5 : 2 },
        data: points.filter(({ median }) => median > 0).map(({ services, median }) => [services, median]),
      },
      {
        name,
        type: 'scatter',
        symbolSize: 5,
        data: points.flatMap(({ services, repeats }) => repeats.filter((y) => y > 0).map((y) => [services, y])),
      },
    ]),
    // By name: the two series of a line share one.
    color: lines.map((_, i) => colorOf(i)),
  })
}

export interface Bar {
  name: string
  /** One value a group; null: not measured, no bar. */
  values: readonly (number | null)[]
}

/** Horizontal bars, so that long names stay legible; every bar carries its figure. One panel a group, each with an axis of its own. */
export function barChart(title: string, groups: readonly string[], bars: readonly Bar[]): string {
  const longest = Math.max(...bars.map(({ name }) => name.length))
  const left = Math.min(330, 24 + 7.2 * longest)
  const panel = (WIDTH - left - 20) / groups.length
  const height = 108 + 30 * bars.length
  return draw(height, {
    ...frame(title),
    grid: groups.map((_, i) => ({ left: left + i * panel, width: panel - 70, top: 56, bottom: 52 })),
    xAxis: groups.map((group, i) => ({ ...axisStyle(group, 32), type: 'value', gridIndex: i, splitNumber: 3, min: 0 })),
    yAxis: groups.map((_, i) => ({
      type: 'category',
      gridIndex: i,
      inverse: true,
      data: bars.map(({ name }) => name),
      axisTick: { show: false },
      axisLine: { lineStyle: { color: INK } },
      axisLabel: { show: i === 0, color: INK, width: left - 20, overflow: 'truncate' },
    })),
    series: groups.map((_, i) => ({
      type: 'bar',
      xAxisIndex: i,
      yAxisIndex: i,
      barMaxWidth: 18,
      data: bars.map(({ values }, row) => ({ value: values[i] ?? '-', itemStyle: { color: row === 0 ? COLORS[0] : '#6e8aa8' } })),
      label: { show: true, position: 'right', color: INK, formatter: ({ value }: { value: number }) => formatNumber(value) },
    })),
  })
}

export interface Panel {
  name: string
  axis: string
  lines: readonly { name: string; points: readonly (readonly [number, number])[] }[]
}

/**
 * What changes with time: one panel below the other over the same x axis, each with a y axis of its own from 0 in the unit
 * `axis`, so that growth is seen in proportion to what is there. Lines of one name have one colour; several are told in a legend.
 */
export function timeline(title: string, xAxis: string, panels: readonly Panel[]): string {
  const names = [...new Set(panels.flatMap(({ lines }) => lines.map(({ name }) => name)))]
  const several = panels.some(({ lines }) => lines.length > 1)
  const [left, top, panel, gap] = [76, several ? 112 : 84, 150, 48]
  const xs = panels.flatMap(({ lines }) => lines.flatMap(({ points }) => points.map(([x]) => x)))
  const end = Math.max(0, ...xs) || 1
  return draw(top + panels.length * (panel + gap) + 12, {
    ...frame(title),
    ...(several ? { legend: legend(names) } : {}),
    grid: panels.map((_, i) => ({ left, right: 32, top: top + i * (panel + gap), height: panel })),
    xAxis: panels.map((_, i) => ({
      ...axisStyle(i === panels.length - 1 ? xAxis : '', 32),
      type: 'value',
      gridIndex: i,
      min: 0,
      max: end,
      axisLabel: { show: i === panels.length - 1, color: INK, showMaxLabel: false, formatter: formatNumber },
    })),
    yAxis: panels.map(({ name, axis }, i) => ({
      ...axisStyle(name === axis ? name : `${name}, ${axis}`, 10),
      nameLocation: 'end',
      nameTextStyle: { color: INK, fontSize: 13, align: 'left', padding: [0, 0, 0, 16 - left] },
      type: 'value',
      gridIndex: i,
      min: 0,
      splitNumber: 3,
      axisLabel: { color: INK, formatter: formatNumber },
    })),
    series: panels.flatMap(({ lines }, i) =>
      lines.map(({ name, points }) => ({
        ...(several ? { name } : {}),
        type: 'line',
        xAxisIndex: i,
        yAxisIndex: i,
        symbol: points.length > 60 ? 'none' : 'circle',
        symbolSize: 4,
        lineStyle: { width: 2, color: several ? colorOf(names.indexOf(name)) : COLORS[0] },
        itemStyle: { color: several ? colorOf(names.indexOf(name)) : COLORS[0] },
        data: points.map(([x, y]) => [x, y]),
      })),
    ),
  })
}

function draw(height: number, option: EChartsCoreOption): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height })
  try {
    chart.setOption({ animation: false, backgroundColor: '#ffffff', textStyle: { fontFamily: FONT, color: INK }, ...option })
    // Ids carry a count of the process' charts: without it, a chart does not depend on those before. Its style sheet is for
    // a mouse that hovers, which a picture in a report does not see.
    const svg = chart.renderToSVGString().replaceAll(/\bzr\d+-/g, 'chart-')
    return `${svg.replaceAll(/ class="chart-cls-\d+"/g, '').replaceAll(/<style[^>]*>[\s\S]*?<\/style>\n?/g, '')}\n`
  } finally {
    chart.dispose()
  }
}

function frame(title: string): EChartsCoreOption {
  return { title: { text: title, left: 16, top: 12, textStyle: { fontSize: 16, color: INK, fontFamily: FONT } } }
}

function legend(names: readonly string[]): EChartsCoreOption {
  return { data: names.map((name) => ({ name, icon: 'roundRect' })), left: 16, top: 42, itemHeight: 4, textStyle: { color: INK } }
}

function axisStyle(name: string, nameGap: number): EChartsCoreOption {
  return {
    name,
    nameLocation: 'middle',
    nameGap,
    nameTextStyle: { color: INK, fontSize: 13 },
    axisLine: { show: true, lineStyle: { color: INK } },
    axisLabel: { color: INK },
    splitLine: { lineStyle: { color: GRID } },
  }
}

function colorOf(i: number): string {
  return COLORS[i % COLORS.length] ?? INK
}

/** 1, 2 and 5 times powers of ten, from the one at or below `low` to the one at or above `high`. */
function logTicks(low: number, high: number): number[] {
  const all: number[] = []
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const step of [1, 2, 5]) all.push(Number((step * 10 ** power).toPrecision(1)))
  }
  const first = all.findLastIndex((tick) => tick <= low)
  const last = all.findIndex((tick) => tick >= high)
  return all.slice(Math.max(first, 0), Math.max(last, first + 1) + 1)
}

/** Sizes whose labels do not run into each other on a logarithmic axis; the last one always is among them. */
function apart(sizes: readonly number[]): number[] {
  const kept: number[] = []
  const span = Math.log((sizes.at(-1) ?? 1) / (sizes[0] ?? 1)) || 1
  for (const size of sizes.toReversed()) {
    const next = kept[0]
    if (next === undefined || Math.log(next / size) / span > 0.04) kept.unshift(size)
  }
  return kept
}
