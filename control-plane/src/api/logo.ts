// Owns the mark of the product as the API's pages show it: a canopy over its seat, and the name.

const LINES = 'fill="none" stroke="#e8a33d" stroke-width="2.5" stroke-linecap="round"'
const LETTERS = 'font-family="system-ui, sans-serif" font-size="21" font-weight="600"'

export const LOGO_SVG = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 150 40">
  <title>Howdah</title>
  <g ${LINES} stroke-linejoin="round">
    <path d="M5 17c5-1 9-5 12-11 3 6 7 10 12 11z" fill="#e8a33d"/>
    <path d="M8 17v13M26 17v13M4 30h26M8 24h18"/>
    <path d="M6 35c7 2 15 2 22 0"/>
  </g>
  <text x="40" y="27" ${LETTERS} fill="#f5f1ea">Howdah</text>
</svg>
`
