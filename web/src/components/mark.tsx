/** The jackdaw: black cap, grey nape, pale eye. favicon.svg is the same drawing. */
export function Mark({ className = '' }: { className?: string }) {
  return (
    <svg className={`mark ${className}`} viewBox="0 0 32 32" aria-hidden="true">
      <path className="mark-nape" d="M4 30C2.500 17 6.500 5.500 15.500 4c-3 5-2 14 4.500 18.500L19 30Z" />
      <path
        className="mark-head"
        d="M8.500 9.500C10.500 5.500 14 3 18 3c4.200 0 7.300 2.500 8.200 6.200L31 12.500c-2.200 1.300-4.400 2-6.600 2.100-1 4.400-2.400 9.400-1.400 15.400h-8.500c1-5 .6-8.500-1-12-1.300-3-3.500-5.500-5-8.500Z"
      />
      <circle className="mark-eye" cx="20.500" cy="9.200" r="2" />
      <circle className="mark-pupil" cx="20.700" cy="9.200" r="0.900" />
    </svg>
  )
}
