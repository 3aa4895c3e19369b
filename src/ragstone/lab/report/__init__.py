"""Reports as one self-contained HTML page: `page.Page` and the plots of `plots`."""
