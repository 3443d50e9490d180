const paths = {
  plus: 'M12 5v14M5 12h14',
  search: 'M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM20 20l-4-4',
  menu: 'M4 7h16M4 12h16M4 17h10',
  close: 'M6 6l12 12M18 6 6 18',
  send: 'M12 19V5M6 11l6-6 6 6',
  stop: 'M7 7h10v10H7z',
  copy: 'M9 9h10v11H9zM15 9V4H5v11h4',
  check: 'M5 12.5 10 17 19 7',
  again: 'M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4',
  edit: 'M5 19h3.5L19 8.5 15.5 5 5 15.5zM13 7.5l3.5 3.5',
  up: 'M8 11v8H4v-8zM8 18.5c2 .7 4 1 6 1h2.6c1 0 1.800-.7 2-1.700l1.200-5.300c.3-1.300-.7-2.500-2-2.500H14l.6-3.600c.2-1.400-.8-2.400-2-2.400L8 11',
  down: 'M16 13V5h4v8zM16 5.500c-2-.7-4-1-6-1H7.400c-1 0-1.800.7-2 1.700l-1.200 5.300c-.3 1.300.7 2.500 2 2.500H10l-.6 3.600c-.2 1.400.8 2.400 2 2.400L16 13',
  left: 'M14 7l-5 5 5 5',
  right: 'M10 7l5 5-5 5',
  expand: 'M7 10l5 5 5-5',
  bottom: 'M12 5v14M6 13l6 6 6-6',
  sliders: 'M4 8h9M17 8h3M4 16h3M11 16h9M15 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM9 18a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z',
  sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 3v2M12 19v2M3 12h2M19 12h2M5.600 5.600 7 7M17 17l1.400 1.400M18.400 5.600 17 7M7 17l-1.400 1.400',
  moon: 'M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10Z',
  keyboard: 'M3 7h18v10H3zM7 10.500h.01M11 10.500h.01M15 10.500h.01M18 10.500h.01M8 14h8',
  download: 'M12 4v11M7 10.500l5 5 5-5M5 19.500h14',
  trash: 'M5 7h14M10 7V4.500h4V7M7 7l.8 12.500h8.400L17 7M10.500 10.500v5.500M13.500 10.500v5.500',
  info: 'M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM12 11v5M12 8h.01',
  warning: 'M12 4 3 19.500h18zM12 10v4.500M12 17h.01',
  picture:
    'M4 5h16v14H4zM8.500 11a1.500 1.500 0 1 0 0-3 1.500 1.500 0 0 0 0 3ZM4.500 17.500 10 12l3.500 3.500L16 13l3.500 3.500',
  quill: 'M4 20c3-8 7.500-13 16-16-1 8-5.500 12-12 12M4 20l6-7',
} as const

export type IconName = keyof typeof paths

/** Decoration: the control around it carries the name. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg
      className="icon"
      viewBox="0 0 24 24"
      fill={name === 'stop' ? 'currentColor' : 'none'}
      stroke="currentColor"
      strokeWidth="1.75"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <path d={paths[name]} />
    </svg>
  )
}
