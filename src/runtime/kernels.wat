;; Passes over flat arrays of float32, four lanes at a time. kernels.ts says what each computes.
;;
;; The loops take whole vectors only, at least one: $n is a positive multiple of four. kernels.ts takes the last one to
;; three elements through the first 64 bytes of memory, which the arena leaves free. (Masks in the loops would do too,
;; at twice the time for arrays in the cache.)
;;
;; Nothing here is rounded differently by another processor: the same inputs give the same bits everywhere.

(module
  (import "host" "memory" (memory 1 65536))

  (func (export "axpy") (param $n i32) (param $dst i32) (param $src i32) (param $factor f32)
    (local $end i32)
    (local.set $end (i32.add (local.get $dst) (i32.shl (local.get $n) (i32.const 2))))
    (loop $next
      (v128.store (local.get $dst)
        (f32x4.add
          (v128.load (local.get $dst))
          (f32x4.mul (v128.load (local.get $src)) (f32x4.splat (local.get $factor)))))
      (local.set $dst (i32.add (local.get $dst) (i32.const 16)))
      (local.set $src (i32.add (local.get $src) (i32.const 16)))
      (br_if $next (i32.ne (local.get $dst) (local.get $end)))))

  (func (export "lerp") (param $n i32) (param $dst i32) (param $src i32) (param $weight f32)
    (local $end i32)
    (local $x v128)
    (local.set $end (i32.add (local.get $dst) (i32.shl (local.get $n) (i32.const 2))))
    (loop $next
      (local.set $x (v128.load (local.get $dst)))
      (v128.store (local.get $dst)
        (f32x4.add
          (local.get $x)
          (f32x4.mul
            (f32x4.sub (v128.load (local.get $src)) (local.get $x))
            (f32x4.splat (local.get $weight)))))
      (local.set $dst (i32.add (local.get $dst) (i32.const 16)))
      (local.set $src (i32.add (local.get $src) (i32.const 16)))
      (br_if $next (i32.ne (local.get $dst) (local.get $end)))))

  ;; Squares and sums in double precision.
  (func (export "sumOfSquares") (param $n i32) (param $src i32) (result f64)
    (local $end i32)
    (local $x v128) (local $low v128) (local $high v128) (local $sumLow v128) (local $sumHigh v128)
    (local.set $end (i32.add (local.get $src) (i32.shl (local.get $n) (i32.const 2))))
    (loop $next
      (local.set $x (v128.load (local.get $src)))
      (local.set $low (f64x2.promote_low_f32x4 (local.get $x)))
      (local.set $high
        (f64x2.promote_low_f32x4
          (i8x16.shuffle 8 9 10 11 12 13 14 15 8 9 10 11 12 13 14 15 (local.get $x) (local.get $x))))
      (local.set $sumLow (f64x2.add (local.get $sumLow) (f64x2.mul (local.get $low) (local.get $low))))
      (local.set $sumHigh (f64x2.add (local.get $sumHigh) (f64x2.mul (local.get $high) (local.get $high))))
      (local.set $src (i32.add (local.get $src) (i32.const 16)))
      (br_if $next (i32.ne (local.get $src) (local.get $end))))
    (local.set $low (f64x2.add (local.get $sumLow) (local.get $sumHigh)))
    (f64.add (f64x2.extract_lane 0 (local.get $low)) (f64x2.extract_lane 1 (local.get $low))))

  ;; m ← β₁ m + scaleM · g,  v ← β₂ v + scaleV · g²
  ;; p ← keep · p − stepSize · m / (√v · invSqrtCorrection + ε)
  (func (export "adamw")
    (param $n i32) (param $p i32) (param $g i32) (param $m i32) (param $v i32)
    (param $beta1 f32) (param $scaleM f32) (param $beta2 f32) (param $scaleV f32)
    (param $keep f32) (param $stepSize f32) (param $invSqrtCorrection f32) (param $eps f32)
    (local $end i32)
    (local $beta1s v128) (local $scaleMs v128) (local $beta2s v128) (local $scaleVs v128)
    (local $keeps v128) (local $stepSizes v128) (local $corrections v128) (local $epss v128)
    (local $grad v128) (local $newM v128) (local $newV v128)
    (local.set $beta1s (f32x4.splat (local.get $beta1)))
    (local.set $scaleMs (f32x4.splat (local.get $scaleM)))
    (local.set $beta2s (f32x4.splat (local.get $beta2)))
    (local.set $scaleVs (f32x4.splat (local.get $scaleV)))
    (local.set $keeps (f32x4.splat (local.get $keep)))
    (local.set $stepSizes (f32x4.splat (local.get $stepSize)))
    (local.set $corrections (f32x4.splat (local.get $invSqrtCorrection)))
    (local.set $epss (f32x4.splat (local.get $eps)))
    (local.set $end (i32.add (local.get $p) (i32.shl (local.get $n) (i32.const 2))))
    (loop $next
      (local.set $grad (v128.load (local.get $g)))
      (local.set $newM
        (f32x4.add
          (f32x4.mul (v128.load (local.get $m)) (local.get $beta1s))
          (f32x4.mul (local.get $grad) (local.get $scaleMs))))
      (local.set $newV
        (f32x4.add
          (f32x4.mul (v128.load (local.get $v)) (local.get $beta2s))
          (f32x4.mul (f32x4.mul (local.get $grad) (local.get $grad)) (local.get $scaleVs))))
      (v128.store (local.get $m) (local.get $newM))
      (v128.store (local.get $v) (local.get $newV))
      (v128.store (local.get $p)
        (f32x4.sub
          (f32x4.mul (v128.load (local.get $p)) (local.get $keeps))
          (f32x4.div
            (f32x4.mul (local.get $newM) (local.get $stepSizes))
            (f32x4.add (f32x4.mul (f32x4.sqrt (local.get $newV)) (local.get $corrections)) (local.get $epss)))))
      (local.set $p (i32.add (local.get $p) (i32.const 16)))
      (local.set $g (i32.add (local.get $g) (i32.const 16)))
      (local.set $m (i32.add (local.get $m) (i32.const 16)))
      (local.set $v (i32.add (local.get $v) (i32.const 16)))
      (br_if $next (i32.ne (local.get $p) (local.get $end)))))

  ;; Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") on four counters at
  ;; once: lane i of the results is block i's four words. A product of 32-bit words is split into its high and low half.
  (func $philox (param $c0 v128) (param $c1 v128) (param $c2 v128) (param $c3 v128) (param $k0 i32) (param $k1 i32)
    (result v128 v128 v128 v128)
    (local $round i32) (local $low v128) (local $high v128) (local $hi0 v128) (local $lo0 v128)
    (loop $next
      (local.set $low (i64x2.extmul_low_i32x4_u (local.get $c0) (i32x4.splat (i32.const 0xD2511F53))))
      (local.set $high (i64x2.extmul_high_i32x4_u (local.get $c0) (i32x4.splat (i32.const 0xD2511F53))))
      (local.set $lo0 (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $low) (local.get $high)))
      (local.set $hi0 (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $low) (local.get $high)))
      (local.set $low (i64x2.extmul_low_i32x4_u (local.get $c2) (i32x4.splat (i32.const 0xCD9E8D57))))
      (local.set $high (i64x2.extmul_high_i32x4_u (local.get $c2) (i32x4.splat (i32.const 0xCD9E8D57))))
      (local.set $c0
        (v128.xor (v128.xor (local.get $c1) (i32x4.splat (local.get $k0)))
          (i8x16.shuffle 4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31 (local.get $low) (local.get $high))))
      (local.set $c1 (i8x16.shuffle 0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27 (local.get $low) (local.get $high)))
      (local.set $c2 (v128.xor (v128.xor (local.get $c3) (i32x4.splat (local.get $k1))) (local.get $hi0)))
      (local.set $c3 (local.get $lo0))
      (local.set $k0 (i32.add (local.get $k0) (i32.const 0x9E3779B9)))
      (local.set $k1 (i32.add (local.get $k1) (i32.const 0xBB67AE85)))
      (local.set $round (i32.add (local.get $round) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $round) (i32.const 10))))
    (local.get $c0) (local.get $c1) (local.get $c2) (local.get $c3))

  ;; The top 24 bits as k · 2⁻²⁴, 0 ≤ k < 2²⁴: every value is a float32.
  (func $unit (param $bits v128) (result v128)
    (f32x4.mul
      (f32x4.convert_i32x4_u (i32x4.shr_u (local.get $bits) (i32.const 8)))
      (v128.const f32x4 0x1p-24 0x1p-24 0x1p-24 0x1p-24)))

  ;; Box and Muller: √(−2 ln u₁) · (cos 2πu₂, sin 2πu₂), u₁ in (0, 1], u₂ in [0, 1).
  (func $normals (param $bits1 v128) (param $bits2 v128) (result v128 v128)
    (local $x v128) (local $exponent v128) (local $small v128) (local $s v128) (local $s2 v128) (local $radius v128)
    (local $quarter v128) (local $a v128) (local $a2 v128) (local $sin v128) (local $cos v128) (local $odd v128)
    ;; u₁ = x · 2^exponent with x in [√½, √2)
    (local.set $x (f32x4.add (call $unit (local.get $bits1)) (v128.const f32x4 0x1p-24 0x1p-24 0x1p-24 0x1p-24)))
    (local.set $exponent
      (i32x4.sub (i32x4.shr_u (local.get $x) (i32.const 23)) (v128.const i32x4 126 126 126 126)))
    (local.set $x
      (v128.or
        (v128.and (local.get $x) (v128.const i32x4 0x7fffff 0x7fffff 0x7fffff 0x7fffff))
        (v128.const i32x4 0x3f000000 0x3f000000 0x3f000000 0x3f000000)))
    (local.set $small
      (f32x4.lt (local.get $x) (v128.const f32x4 0.70710678 0.70710678 0.70710678 0.70710678)))
    (local.set $x (f32x4.add (local.get $x) (v128.and (local.get $x) (local.get $small))))
    (local.set $exponent (i32x4.add (local.get $exponent) (local.get $small)))
    ;; ln x = 2 (s + s³/3 + s⁵/5 + s⁷/7 + s⁹/9), s = (x − 1) / (x + 1), |s| < 0.172
    (local.set $s
      (f32x4.div
        (f32x4.sub (local.get $x) (v128.const f32x4 1 1 1 1))
        (f32x4.add (local.get $x) (v128.const f32x4 1 1 1 1))))
    (local.set $s2 (f32x4.mul (local.get $s) (local.get $s)))
    (local.set $x (v128.const f32x4 0.11111111 0.11111111 0.11111111 0.11111111))
    (local.set $x
      (f32x4.add (f32x4.mul (local.get $x) (local.get $s2)) (v128.const f32x4 0.14285714 0.14285714 0.14285714 0.14285714)))
    (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $s2)) (v128.const f32x4 0.2 0.2 0.2 0.2)))
    (local.set $x
      (f32x4.add (f32x4.mul (local.get $x) (local.get $s2)) (v128.const f32x4 0.33333333 0.33333333 0.33333333 0.33333333)))
    (local.set $x (f32x4.add (f32x4.mul (local.get $x) (local.get $s2)) (v128.const f32x4 1 1 1 1)))
    ;; −2 ln u₁ = −4 s (…) − 2 ln 2 · exponent
    (local.set $radius
      (f32x4.sqrt
        (f32x4.sub
          (f32x4.mul
            (f32x4.convert_i32x4_s (local.get $exponent))
            (v128.const f32x4 -1.38629436 -1.38629436 -1.38629436 -1.38629436))
          (f32x4.mul (f32x4.mul (local.get $s) (v128.const f32x4 4 4 4 4)) (local.get $x)))))
    ;; 2πu₂ = π/2 · (quarter + a), a in [−½, ½]
    (local.set $a (f32x4.mul (call $unit (local.get $bits2)) (v128.const f32x4 4 4 4 4)))
    (local.set $quarter (f32x4.nearest (local.get $a)))
    (local.set $a
      (f32x4.mul
        (f32x4.sub (local.get $a) (local.get $quarter))
        (v128.const f32x4 1.57079633 1.57079633 1.57079633 1.57079633)))
    (local.set $quarter (i32x4.trunc_sat_f32x4_s (local.get $quarter)))
    (local.set $a2 (f32x4.mul (local.get $a) (local.get $a)))
    ;; sin a = a − a³/3! + a⁵/5! − a⁷/7! + a⁹/9!
    (local.set $sin (v128.const f32x4 2.75573192e-6 2.75573192e-6 2.75573192e-6 2.75573192e-6))
    (local.set $sin
      (f32x4.sub (f32x4.mul (local.get $sin) (local.get $a2))
        (v128.const f32x4 1.98412698e-4 1.98412698e-4 1.98412698e-4 1.98412698e-4)))
    (local.set $sin
      (f32x4.add (f32x4.mul (local.get $sin) (local.get $a2))
        (v128.const f32x4 8.33333333e-3 8.33333333e-3 8.33333333e-3 8.33333333e-3)))
    (local.set $sin
      (f32x4.sub (f32x4.mul (local.get $sin) (local.get $a2))
        (v128.const f32x4 0.16666667 0.16666667 0.16666667 0.16666667)))
    (local.set $sin
      (f32x4.add (local.get $a) (f32x4.mul (f32x4.mul (local.get $sin) (local.get $a2)) (local.get $a))))
    ;; cos a = 1 − a²/2! + a⁴/4! − a⁶/6! + a⁸/8!
    (local.set $cos (v128.const f32x4 2.48015873e-5 2.48015873e-5 2.48015873e-5 2.48015873e-5))
    (local.set $cos
      (f32x4.sub (f32x4.mul (local.get $cos) (local.get $a2))
        (v128.const f32x4 1.38888889e-3 1.38888889e-3 1.38888889e-3 1.38888889e-3)))
    (local.set $cos
      (f32x4.add (f32x4.mul (local.get $cos) (local.get $a2))
        (v128.const f32x4 4.16666667e-2 4.16666667e-2 4.16666667e-2 4.16666667e-2)))
    (local.set $cos
      (f32x4.sub (f32x4.mul (local.get $cos) (local.get $a2)) (v128.const f32x4 0.5 0.5 0.5 0.5)))
    (local.set $cos (f32x4.add (v128.const f32x4 1 1 1 1) (f32x4.mul (local.get $cos) (local.get $a2))))
    ;; Odd quarters swap the two; cos is negative in quarters 1 and 2, sin in 2 and 3 (bit 1 moved to the sign).
    (local.set $odd
      (i32x4.eq (v128.and (local.get $quarter) (v128.const i32x4 1 1 1 1)) (v128.const i32x4 1 1 1 1)))
    (f32x4.mul (local.get $radius)
      (v128.xor
        (v128.bitselect (local.get $sin) (local.get $cos) (local.get $odd))
        (i32x4.shl
          (v128.and (i32x4.add (local.get $quarter) (v128.const i32x4 1 1 1 1)) (v128.const i32x4 2 2 2 2))
          (i32.const 30))))
    (f32x4.mul (local.get $radius)
      (v128.xor
        (v128.bitselect (local.get $cos) (local.get $sin) (local.get $odd))
        (i32x4.shl (v128.and (local.get $quarter) (v128.const i32x4 2 2 2 2)) (i32.const 30)))))

  ;; $kind 0: random words, 1: uniform, 2: normal. 16 elements a round, any $n: the last round
  ;; is staged in the free first 64 bytes.
  (func (export "random")
    (param $n i32) (param $dst i32) (param $kind i32) (param $k0 i32) (param $k1 i32)
    (param $c0 i32) (param $c1 i32) (param $c2 i32) (param $c3 i32)
    (local $counter i64) (local $i i64) (local $lanes0 v128) (local $lanes1 v128) (local $at i32)
    (local $w0 v128) (local $w1 v128) (local $w2 v128) (local $w3 v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local.set $counter
      (i64.or (i64.extend_i32_u (local.get $c0)) (i64.shl (i64.extend_i32_u (local.get $c1)) (i64.const 32))))
    (block $done
      (loop $next
        (br_if $done (i32.le_s (local.get $n) (i32.const 0)))
        (local.set $lanes0 (i32x4.splat (i32.wrap_i64 (local.get $counter))))
        (local.set $lanes1 (i32x4.splat (i32.wrap_i64 (i64.shr_u (local.get $counter) (i64.const 32)))))
        (local.set $i (i64.add (local.get $counter) (i64.const 1)))
        (local.set $lanes0 (i32x4.replace_lane 1 (local.get $lanes0) (i32.wrap_i64 (local.get $i))))
        (local.set $lanes1
          (i32x4.replace_lane 1 (local.get $lanes1) (i32.wrap_i64 (i64.shr_u (local.get $i) (i64.const 32)))))
        (local.set $i (i64.add (local.get $counter) (i64.const 2)))
        (local.set $lanes0 (i32x4.replace_lane 2 (local.get $lanes0) (i32.wrap_i64 (local.get $i))))
        (local.set $lanes1
          (i32x4.replace_lane 2 (local.get $lanes1) (i32.wrap_i64 (i64.shr_u (local.get $i) (i64.const 32)))))
        (local.set $i (i64.add (local.get $counter) (i64.const 3)))
        (local.set $lanes0 (i32x4.replace_lane 3 (local.get $lanes0) (i32.wrap_i64 (local.get $i))))
        (local.set $lanes1
          (i32x4.replace_lane 3 (local.get $lanes1) (i32.wrap_i64 (i64.shr_u (local.get $i) (i64.const 32)))))
        (call $philox (local.get $lanes0) (local.get $lanes1) (i32x4.splat (local.get $c2))
          (i32x4.splat (local.get $c3)) (local.get $k0) (local.get $k1))
        (local.set $w3) (local.set $w2) (local.set $w1) (local.set $w0)
        (if (i32.eq (local.get $kind) (i32.const 1))
          (then
            (local.set $w0 (call $unit (local.get $w0)))
            (local.set $w1 (call $unit (local.get $w1)))
            (local.set $w2 (call $unit (local.get $w2)))
            (local.set $w3 (call $unit (local.get $w3)))))
        (if (i32.eq (local.get $kind) (i32.const 2))
          (then
            (call $normals (local.get $w0) (local.get $w1))
            (local.set $w1) (local.set $w0)
            (call $normals (local.get $w2) (local.get $w3))
            (local.set $w3) (local.set $w2)))
        ;; From word-major to block-major.
        (local.set $a (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $w0) (local.get $w1)))
        (local.set $b (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $w0) (local.get $w1)))
        (local.set $c (i8x16.shuffle 0 1 2 3 16 17 18 19 4 5 6 7 20 21 22 23 (local.get $w2) (local.get $w3)))
        (local.set $d (i8x16.shuffle 8 9 10 11 24 25 26 27 12 13 14 15 28 29 30 31 (local.get $w2) (local.get $w3)))
        (local.set $at (select (local.get $dst) (i32.const 0) (i32.ge_s (local.get $n) (i32.const 16))))
        (v128.store (local.get $at)
          (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $a) (local.get $c)))
        (v128.store offset=16 (local.get $at)
          (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $a) (local.get $c)))
        (v128.store offset=32 (local.get $at)
          (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $b) (local.get $d)))
        (v128.store offset=48 (local.get $at)
          (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $b) (local.get $d)))
        (if (i32.lt_s (local.get $n) (i32.const 16))
          (then (memory.copy (local.get $dst) (i32.const 0) (i32.shl (local.get $n) (i32.const 2)))))
        (local.set $counter (i64.add (local.get $counter) (i64.const 4)))
        (local.set $dst (i32.add (local.get $dst) (i32.const 64)))
        (local.set $n (i32.sub (local.get $n) (i32.const 16)))
        (br $next))))
)
