/** The cart, its pole and the track, drawn to scale in the colours of the page. */

/** Metres that are seen, and half the pole as its world has it. */
const seen = 5.6
const pole = 1
const limit = 2.4

export function drawCart(canvas: HTMLCanvasElement, [place, , angle]: ArrayLike<number> & Iterable<number>): void {
  const pen = canvas.getContext('2d')
  if (!pen) return
  const ratio = devicePixelRatio
  const [width, height] = [canvas.clientWidth, canvas.clientHeight]
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio)
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio)
  const style = getComputedStyle(canvas)
  const colour = (name: string) => style.getPropertyValue(name) || style.color
  const metre = width / seen
  const ground = height - 0.35 * metre
  const xOf = (x: number) => width / 2 + x * metre
  pen.setTransform(ratio, 0, 0, ratio, 0, 0)
  pen.clearRect(0, 0, width, height)

  pen.lineWidth = 1
  pen.strokeStyle = colour('--line')
  pen.beginPath()
  pen.moveTo(xOf(-limit), ground)
  pen.lineTo(xOf(limit), ground)
  for (const end of [-limit, limit]) {
    pen.moveTo(xOf(end), ground - 0.15 * metre)
    pen.lineTo(xOf(end), ground + 0.15 * metre)
  }
  pen.stroke()

  pen.fillStyle = style.color
  pen.fillRect(xOf(place) - 0.3 * metre, ground - 0.28 * metre, 0.6 * metre, 0.28 * metre)
  const top = ground - 0.28 * metre
  pen.strokeStyle = colour('--accent')
  pen.lineWidth = 0.09 * metre
  pen.lineCap = 'round'
  pen.beginPath()
  pen.moveTo(xOf(place), top)
  pen.lineTo(xOf(place) + Math.sin(angle) * pole * metre, top - Math.cos(angle) * pole * metre)
  pen.stroke()
}
