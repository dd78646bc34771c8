package remap

// Fields has one more than it may have.
type Fields struct {
	a, b, c, d, e, f, g, h, i, j, k, l, m, n, o int
	string                                      // embedded
}

// Enough has as many as it may have, and so has the package of methods.
type Enough struct{ a, b, c, d, e, f, g, h, i, j, k, l, m, n, o int }

func (Enough) a_() {}
func (Enough) b_() {}
func (Enough) c_() {}
func (Enough) d_() {}
func (Enough) e_() {}
func (Enough) f_() {}
func (Enough) g_() {}
func (Enough) h_() {}
func (Enough) i_() {}
func (Enough) j_() {}
func (Enough) k_() {}
func (Enough) l_() {}
func (Enough) m_() {}
func (Enough) n_() {}
func (Enough) o_() {}
func (Enough) p_() {}
func (Enough) q_() {}
func (Enough) r_() {}
func (Enough) s_() {}
func (Enough) t_() {}
func (Enough) u_() {}
func (Enough) v_() {}
func (Enough) w_() {}
func (Enough) x_() {}
func (Enough) y_() {}

// Methods has them with pointers and without.
type Methods struct{}

func (Methods) a()  {}
func (*Methods) b() {}
func (Methods) c()  {}
func (*Methods) d() {}
func (Methods) e()  {}
func (*Methods) f() {}
func (Methods) g()  {}
func (*Methods) h() {}
func (Methods) i()  {}
func (*Methods) j() {}
func (Methods) k()  {}
func (*Methods) l() {}
func (Methods) m()  {}
func (*Methods) n() {}
func (Methods) o()  {}
func (*Methods) p() {}
func (Methods) q()  {}
func (*Methods) r() {}
func (Methods) s()  {}
func (*Methods) t() {}
func (Methods) u()  {}
func (*Methods) v() {}
func (Methods) w()  {}
func (*Methods) x() {}
func (Methods) y()  {}
func (*Methods) z() {}

type Generic[T any] struct{ of T }

func (g *Generic[T]) a() {}
func (g *Generic[T]) b() {}
func (g *Generic[T]) c() {}
func (g *Generic[T]) d() {}
func (g *Generic[T]) e() {}
func (g *Generic[T]) f() {}
func (g *Generic[T]) g() {}
func (g *Generic[T]) h() {}
func (g *Generic[T]) i() {}
func (g *Generic[T]) j() {}
func (g *Generic[T]) k() {}
func (g *Generic[T]) l() {}
func (g *Generic[T]) m() {}
func (g *Generic[T]) n() {}
func (g *Generic[T]) o() {}
func (g *Generic[T]) p() {}
func (g *Generic[T]) q() {}
func (g *Generic[T]) r() {}
func (g *Generic[T]) s() {}
func (g *Generic[T]) t() {}
func (g *Generic[T]) u() {}
func (g *Generic[T]) v() {}
func (g *Generic[T]) w() {}
func (g *Generic[T]) x() {}
func (g *Generic[T]) y() {}
func (g *Generic[T]) z() {}

type Interface interface {
	a()
	b()
	c()
	d()
	e()
	f()
	g()
	h()
	i()
	j()
	k()
	l()
	m()
	n()
	o()
	p()
	q()
	r()
	s()
	t()
	u()
	v()
	w()
	x()
	y()
	z()
}

func within() {
	type Within struct{ a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p int }
}
