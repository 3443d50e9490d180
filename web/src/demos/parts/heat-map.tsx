import { useEffect, useRef } from 'react'
import { useTheme } from '../../theme.ts'

interface HeatMapProps {
  /** [rows, columns], each from 0 to 1. */
  values: Float32Array
  columns: number
  /** A row that stands out. */
  row?: number
}

/** A matrix as squares, the larger the value the stronger. What it shows is said beside it: a picture is heard by nobody. */
export function HeatMap({ values, columns, row }: HeatMapProps) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const { theme } = useTheme()
  const rows = values.length / columns
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme gives the colours.
  useEffect(() => {
    const element = canvas.current
    const context = element?.getContext('2d')
    if (!element || !context) return
    // A pixel for each value: the browser enlarges it, without smoothing.
    const picture = context.createImageData(columns, rows)
    const [ink, paper] = [colourOf(element, '--chart-line'), colourOf(element, '--surface')]
    for (const [i, value] of values.entries()) {
      const dims = row !== undefined && Math.floor(i / columns) !== row ? 0.45 : 1
      const strength = Math.sqrt(value) * dims
      for (let channel = 0; channel < 3; channel++) {
        picture.data[4 * i + channel] = paper[channel] + strength * (ink[channel] - paper[channel])
      }
      picture.data[4 * i + 3] = 255
    }
    context.putImageData(picture, 0, 0)
  }, [values, columns, rows, row, theme])
  return (
    <span aria-hidden="true">
      <canvas ref={canvas} className="heat-map" width={columns} height={rows} />
    </span>
  )
}

/** A canvas knows no variables: a pixel of the colour is painted and read. */
function colourOf(element: Element, variable: string): Uint8ClampedArray {
  const probe = document.createElement('span')
  probe.style.color = `var(${variable})`
  element.after(probe)
  const { color } = getComputedStyle(probe)
  probe.remove()
  const context = new OffscreenCanvas(1, 1).getContext('2d')
  if (!context) throw new Error('this browser draws on no canvas')
  context.fillStyle = color
  context.fillRect(0, 0, 1, 1)
  return context.getImageData(0, 0, 1, 1).data
}
