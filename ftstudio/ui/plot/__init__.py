"""Charts for slow links: curves thinned as they grow, scales that seldom move, rows sent only where they changed."""
